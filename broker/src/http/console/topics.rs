//! `/api/v1/topics` and `/api/v1/topics/{name}`: by this broker's image, and of one topic's partitions what their leaders know.

use std::sync::Arc;

use axum::extract::State;
use metadata::config::{ConfigSource, StaticConfig};
use metadata::image::{MetadataImage, PartitionImage, TopicImage};
use metadata::record::ConfigResource;
use protocol::PartitionId;
use serde::Serialize;

use super::answer::{Answered, ConsoleError, laid_out};
use super::cluster::{ids, trouble};
use super::peers::NotReached;
use super::query::{Paging, Parameters, RawName, RawParameters, name};
use super::{Cluster, Console};
use crate::metadata_core::views::LedPartition;

/// Topics in one answer at most.
const TOPICS_MAX: usize = 500;
/// Partitions in one answer at most.
const PARTITIONS_MAX: usize = 500;

#[derive(Serialize)]
struct Topics {
    /// Of those that match, whichever part of them is told.
    total: usize,
    offset: usize,
    topics: Vec<Topic>,
}

#[derive(Serialize)]
struct Topic {
    topic: Arc<str>,
    topic_id: String,
    internal: bool,
    partitions: i32,
    /// Of the partition that has most.
    replicas: usize,
    offline: usize,
    under_min_isr: usize,
    under_replicated: usize,
    configs: Vec<Config>,
}

#[derive(Serialize)]
struct Config {
    name: String,
    value: String,
}

#[derive(Serialize)]
struct TopicDetails {
    #[serde(flatten)]
    topic: Topic,
    /// All configs, in order of name, and where their values come from.
    all_configs: Vec<ConfigLine>,
    min_insync_replicas: i32,
    offset: usize,
    partition_list: Vec<Partition>,
    not_reached: Vec<NotReached>,
}

#[derive(Serialize)]
struct ConfigLine {
    name: &'static str,
    value: Option<String>,
    /// `topic`, `broker`, `cluster`, `static` or `default`.
    source: &'static str,
}

#[derive(Serialize)]
struct Partition {
    partition: i32,
    /// What is wrong with it, the worst; `null` if nothing is.
    trouble: Option<&'static str>,
    leader: Option<i32>,
    leader_epoch: i32,
    replicas: Vec<i32>,
    isr: Vec<i32>,
    elr: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
    /// `null` while the leader does not tell.
    log: Option<Log>,
}

#[derive(Serialize)]
struct Log {
    start: i64,
    high_watermark: i64,
    end: i64,
    size_bytes: u64,
    followers: Vec<Follower>,
}

#[derive(Serialize)]
struct Follower {
    broker: i32,
    in_sync: bool,
    /// Offsets that it lacks on its disk; `null` while it has not agreed with the leader.
    lag: Option<i64>,
    behind_bytes: Option<u64>,
    behind_ms: u64,
}

pub async fn topics(State(console): State<Arc<Console>>, parameters: RawParameters) -> Answered {
    let parameters = Parameters::new(parameters)?;
    let paging = Paging::of(&parameters, TOPICS_MAX)?;
    let search = parameters.text("search")?.unwrap_or("").to_lowercase();
    let with_problems = parameters.flag("problems")?;
    let image = console.peers()?.image();
    laid_out(move || {
        let wanted = |topic: &&Arc<TopicImage>| {
            topic.name.to_lowercase().contains(&search) && (!with_problems || has_problems(&image, topic))
        };
        let matching: Vec<_> = image.topics().filter(wanted).collect();
        let page = matching.iter().skip(paging.offset).take(paging.limit);
        Ok(Topics {
            total: matching.len(),
            offset: paging.offset,
            topics: page.map(|topic| summary(&image, topic)).collect(),
        })
    })
    .await
}

fn has_problems(image: &MetadataImage, topic: &TopicImage) -> bool {
    let min_insync_replicas = image.min_insync_replicas(&topic.name);
    topic.partitions().any(|(_, partition)| trouble(partition, min_insync_replicas).is_some())
}

fn summary(image: &MetadataImage, topic: &TopicImage) -> Topic {
    let min_insync_replicas = image.min_insync_replicas(&topic.name);
    let (mut offline, mut under_min_isr, mut under_replicated, mut replicas) = (0, 0, 0, 0);
    for (_, partition) in topic.partitions() {
        replicas = replicas.max(partition.replicas.len());
        under_replicated += usize::from(partition.is_under_replicated());
        match trouble(partition, min_insync_replicas) {
            Some("offline") => offline += 1,
            Some("under_min_isr") => under_min_isr += 1,
            _ => {}
        }
    }
    let overrides = image.overrides(&ConfigResource::Topic(topic.name.to_string()));
    let configs =
        overrides.iter().map(|(name, value)| Config { name: name.to_owned(), value: value.to_owned() }).collect();
    Topic {
        topic: topic.name.clone(),
        topic_id: topic.id.to_string(),
        internal: topic.name.starts_with("__"),
        partitions: topic.partition_count(),
        replicas,
        offline,
        under_min_isr,
        under_replicated,
        configs,
    }
}

pub async fn topic(State(console): State<Arc<Console>>, topic: RawName, parameters: RawParameters) -> Answered {
    let topic_name = name(topic)?;
    let parameters = Parameters::new(parameters)?;
    let paging = Paging::of(&parameters, PARTITIONS_MAX)?;
    let Cluster { peers, settings } = console.cluster()?;
    let (image, me, static_config) = (peers.image(), peers.me, settings.static_config());
    let topic = image.topic(&topic_name).cloned().ok_or(ConsoleError::NoSuchTopic { topic: topic_name })?;
    let page = topic.partitions().skip(paging.offset).take(paging.limit);
    let led: Vec<_> = page.filter_map(|(id, partition)| Some((partition.leader?, (topic.id, id)))).collect();
    let (mut views, not_reached) = peers.led(&led).await;
    laid_out(move || {
        let min_insync_replicas = image.min_insync_replicas(&topic.name);
        let page = topic.partitions().skip(paging.offset).take(paging.limit);
        let line = |(id, partition): (PartitionId, &PartitionImage)| {
            partition_line(id, partition, min_insync_replicas, views.remove(&(topic.id, id)))
        };
        let partition_list = page.map(line).collect();
        Ok(TopicDetails {
            all_configs: all_configs(&image, &topic, me, &static_config),
            topic: summary(&image, &topic),
            min_insync_replicas,
            offset: paging.offset,
            partition_list,
            not_reached,
        })
    })
    .await
}

fn all_configs(
    image: &MetadataImage,
    topic: &TopicImage,
    me: protocol::BrokerId,
    static_config: &StaticConfig,
) -> Vec<ConfigLine> {
    let resource = ConfigResource::Topic(topic.name.to_string());
    let entries = image.describe_configs(&resource, me, static_config, None);
    let line = |entry: metadata::config::ConfigEntry| ConfigLine {
        name: entry.name,
        value: entry.value.filter(|_| !entry.sensitive),
        source: match entry.source {
            ConfigSource::DynamicTopic | ConfigSource::DynamicGroup => "topic",
            ConfigSource::DynamicBroker => "broker",
            ConfigSource::DynamicDefaultBroker => "cluster",
            ConfigSource::StaticBroker => "static",
            ConfigSource::Default => "default",
        },
    };
    entries.into_iter().map(line).collect()
}

fn partition_line(
    id: PartitionId,
    partition: &PartitionImage,
    min_insync_replicas: i32,
    led: Option<LedPartition>,
) -> Partition {
    let moving = partition.reassignment.as_deref();
    Partition {
        partition: id.0,
        trouble: trouble(partition, min_insync_replicas),
        leader: partition.leader.map(|leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replicas: ids(&partition.replicas),
        isr: ids(&partition.isr),
        elr: ids(&partition.elr),
        adding: moving.map_or_else(Vec::new, |moving| ids(&moving.adding)),
        removing: moving.map_or_else(Vec::new, |moving| ids(&moving.removing)),
        log: led.map(log),
    }
}

fn log(LedPartition { view, size_bytes }: LedPartition) -> Log {
    let followers = view.replicas.iter().filter(|replica| replica.broker != view.leader).map(|replica| Follower {
        broker: replica.broker.0,
        in_sync: replica.in_sync,
        lag: replica.durable_end.map(|end| view.log_end.saturating_sub(end).max(0)),
        behind_bytes: replica.behind_bytes,
        behind_ms: replica.behind_ms,
    });
    Log {
        start: view.log_start,
        high_watermark: view.high_watermark,
        end: view.log_end,
        size_bytes,
        followers: followers.collect(),
    }
}
