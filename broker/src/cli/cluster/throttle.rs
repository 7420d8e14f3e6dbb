//! Replication throttles (KIP-73) for as long as replicas are moved, as `kafka-reassign-partitions.sh` has them.
//!
//! A run with `--throttle` takes the throttles of the whole cluster for its own: it removes them all at the end, and so what
//! an earlier run has left that was killed.

use std::collections::{BTreeMap, BTreeSet};

use metadata::config::{THROTTLED_RATES, THROTTLED_REPLICAS};
use metadata::controller::{AlterOp, ConfigAlteration, ConfigChange, PartitionName};
use metadata::placement::Placement;
use metadata::record::ConfigResource;
use protocol::{BrokerId, PartitionId};

use super::asking::Asking;
use crate::metadata_core::request::IncrementalAlterConfigs;

/// Resources that one request names.
const RESOURCES_MAX: usize = 500;

/// What is throttled of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Moving {
    /// Replicas that have the log and may lead: they send.
    pub from: Vec<BrokerId>,
    /// Replicas that take it in.
    pub to: Vec<BrokerId>,
}

pub(super) struct Throttle {
    bytes_per_second: u64,
    /// Brokers that have the rate.
    brokers: BTreeSet<BrokerId>,
    /// Lists of senders and of takers, as topics have them.
    topics: BTreeMap<String, [String; 2]>,
}

impl Throttle {
    pub fn new(bytes_per_second: u64) -> Throttle {
        Throttle { bytes_per_second, brokers: BTreeSet::new(), topics: BTreeMap::new() }
    }

    /// Before these partitions are moved: throttles them, and what is listed of their topics no more than them.
    pub async fn hold(
        &mut self,
        asking: &Asking,
        placement: &Placement,
        moving: &BTreeMap<PartitionName, Moving>,
    ) -> Result<(), String> {
        let unfenced = placement.brokers.iter().filter(|broker| !broker.fenced).map(|broker| broker.broker);
        let without_rate: Vec<BrokerId> = unfenced.filter(|broker| !self.brokers.contains(broker)).collect();
        let rate = self.bytes_per_second.to_string();
        let mut alterations: Vec<_> = without_rate
            .iter()
            .map(|broker| set(ConfigResource::Broker(*broker), THROTTLED_RATES, [rate.clone(), rate.clone()]))
            .collect();
        let lists = lists(moving);
        let changed = lists.iter().filter(|(topic, lists)| self.topics.get(*topic) != Some(lists));
        alterations.extend(
            changed.map(|(topic, lists)| set(ConfigResource::Topic(topic.clone()), THROTTLED_REPLICAS, lists.clone())),
        );
        alter(asking, alterations).await.map_err(|why| format!("replication cannot be throttled: {why}"))?;
        self.brokers.extend(without_rate);
        self.topics.extend(lists);
        Ok(())
    }
}

/// Removes all throttles that brokers and topics have. (Those of all brokers together are no single run's.)
pub(super) async fn clear(asking: &Asking) -> Result<(), String> {
    let unset = |resource: ConfigResource| {
        let names = match &resource {
            ConfigResource::Topic(_) => THROTTLED_REPLICAS,
            ConfigResource::Broker(_) | ConfigResource::BrokerDefault => THROTTLED_RATES,
            // Never throttled.
            ConfigResource::Group(_) => return ConfigAlteration { resource, changes: Vec::new() },
        };
        let change = |name: &str| ConfigChange { name: name.to_owned(), op: AlterOp::Delete, value: None };
        ConfigAlteration { resource, changes: names.iter().map(|name| change(name)).collect() }
    };
    let throttled = asking.placement(None).await?.throttled;
    alter(asking, throttled.into_iter().map(unset).collect()).await
}

fn set(resource: ConfigResource, names: [&str; 2], values: [String; 2]) -> ConfigAlteration {
    let changes = names.iter().zip(values).map(|(name, value)| ConfigChange {
        name: (*name).to_owned(),
        op: AlterOp::Set,
        value: Some(value),
    });
    ConfigAlteration { resource, changes: changes.collect() }
}

async fn alter(asking: &Asking, alterations: Vec<ConfigAlteration>) -> Result<(), String> {
    for alterations in alterations.chunks(RESOURCES_MAX) {
        let request = IncrementalAlterConfigs { alterations: alterations.to_vec(), validate_only: false };
        for (resource, answer) in asking.ask(request).await? {
            match (resource, answer) {
                (_, Ok(())) => {}
                // A topic may be deleted meanwhile.
                (ConfigResource::Topic(_), Err(refusal))
                    if refusal.is(kafka_protocol::ResponseError::UnknownTopicOrPartition) => {}
                (resource, Err(refusal)) => return Err(format!("{resource:?}: {refusal}")),
            }
        }
    }
    Ok(())
}

/// Both lists of each topic, as the configs have them: `partition:broker,…`.
fn lists(moving: &BTreeMap<PartitionName, Moving>) -> BTreeMap<String, [String; 2]> {
    let mut lists: BTreeMap<String, [String; 2]> = BTreeMap::new();
    for ((topic, PartitionId(partition)), Moving { from, to }) in moving {
        let [senders, takers] = lists.entry(topic.clone()).or_default();
        for (list, brokers) in [(senders, from), (takers, to)] {
            for broker in brokers {
                let comma = if list.is_empty() { "" } else { "," };
                list.push_str(&format!("{comma}{partition}:{broker}"));
            }
        }
    }
    lists
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_name_who_sends_and_who_takes_in() {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect::<Vec<_>>();
        let name = |topic: &str, partition| (topic.to_owned(), PartitionId(partition));
        let moving = BTreeMap::from([
            (name("a", 0), Moving { from: ids(&[1, 2]), to: ids(&[3]) }),
            (name("a", 7), Moving { from: ids(&[2]), to: ids(&[1, 3]) }),
            (name("b", 1), Moving { from: ids(&[2]), to: ids(&[]) }),
        ]);
        let lists = lists(&moving);
        assert_eq!(lists["a"], ["0:1,0:2,7:2", "0:3,7:1,7:3"]);
        assert_eq!(lists["b"], ["1:2", ""]);
        for list in lists.values().flatten() {
            let def = metadata::config::definition(metadata::config::Scope::Topic, THROTTLED_REPLICAS[0]).unwrap();
            assert_eq!(def.name, THROTTLED_REPLICAS[0]);
            metadata::config::parse(metadata::config::Scope::Topic, def.name, list).unwrap();
        }
    }
}
