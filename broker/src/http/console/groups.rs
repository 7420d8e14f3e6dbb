//! `/api/v1/groups` and `/api/v1/groups/{id}`: what groups' coordinators say, wherever they are, through the Kafka port; and how
//! far the partitions are, from their leaders.
//!
//! The client of the Kafka protocol is that of `ringlog group`. It runs on a thread of its own for as long as one request takes.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use metadata::image::MetadataImage;
use protocol::PartitionId;
use serde_json::json;

use super::Console;
use super::answer::{Answered, ConsoleError, laid_out};
use super::peers::{NotReached, Peers, Place};
use super::query::{Paging, Parameters, RawName, RawParameters, name};
use crate::cli::group::look::{self, LogEnds, Looked, Search};
use crate::config::{Host, HostPort};

/// Groups in one answer at most.
const GROUPS_MAX: usize = 100;
/// How long coordinators are waited for: elections and loading pass in less.
const PATIENCE: Duration = Duration::from_secs(4);
/// Partitions whose ends are asked for at most, for one answer.
const ENDS_MAX: usize = 20_000;

pub async fn groups(State(console): State<Arc<Console>>, parameters: RawParameters) -> Answered {
    let parameters = Parameters::new(parameters)?;
    // For ids that a path cannot hold: "..", and nothing at all.
    if let Some(id) = parameters.text("id")? {
        return details(console.peers()?, id.to_owned()).await;
    }
    let paging = Paging::of(&parameters, GROUPS_MAX)?;
    let search = Search {
        text: parameters.text("search")?.unwrap_or("").to_owned(),
        offset: paging.offset,
        limit: paging.limit,
    };
    let peers = console.peers()?;
    let image = peers.image();
    let bootstrap = bootstrap(&image, peers);
    let page = look(move || async move { look::page(bootstrap, PATIENCE, search).await }).await?;
    let (ends, not_reached) = ends(peers, &image, &page.looked).await;
    laid_out(move || {
        Ok(json!({
            "total": page.total,
            "offset": paging.offset,
            "groups": page.looked.summaries(&ends),
            "not_reached": not_reached,
            "problems": page.looked.problems(),
        }))
    })
    .await
}

pub async fn group(State(console): State<Arc<Console>>, id: RawName) -> Answered {
    details(console.peers()?, name(id)?).await
}

async fn details(peers: &Peers, id: String) -> Answered {
    let image = peers.image();
    let bootstrap = bootstrap(&image, peers);
    let asked = id.clone();
    let looked = look(move || async move { look::one(bootstrap, PATIENCE, &asked).await }).await?;
    let Some(looked) = looked else { return Err(ConsoleError::NoSuchGroup { group: id }) };
    let (ends, not_reached) = ends(peers, &image, &looked).await;
    laid_out(move || {
        let mut group = looked.details(&ends);
        group["not_reached"] = json!(not_reached);
        Ok(group)
    })
    .await
}

/// Runs what asks coordinators on another thread, with a runtime of its own.
async fn look<T: Send + 'static, F: Future<Output = Result<T, String>>>(
    make: impl FnOnce() -> F + Send + 'static,
) -> Result<T, ConsoleError> {
    let looked = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("no runtime for it: {error}"))?;
        let looked = runtime.block_on(make());
        // A resolver that still blocks is not waited for.
        runtime.shutdown_background();
        looked
    });
    let failed = |reason| ConsoleError::NotReached { what: "the groups' coordinators".to_owned(), reason };
    looked.await.expect("a panic ends the process").map_err(failed)
}

/// Where brokers serve Kafka clients; this one first.
fn bootstrap(image: &MetadataImage, peers: &Peers) -> Vec<HostPort> {
    let mut brokers: Vec<_> = image.unfenced_brokers().collect();
    brokers.sort_by_key(|broker| broker.broker != peers.me);
    let address = |broker: &&Arc<metadata::record::BrokerState>| HostPort {
        host: match broker.host.parse::<IpAddr>() {
            Ok(ip) => Host::Ip(ip),
            Err(_) => Host::Name(broker.host.clone()),
        },
        port: broker.port,
    };
    brokers.iter().map(address).collect()
}

async fn ends(peers: &Peers, image: &MetadataImage, looked: &Looked) -> (LogEnds, Vec<NotReached>) {
    let mut wanted = Vec::new();
    let mut names: std::collections::HashMap<Place, (String, i32)> = std::collections::HashMap::new();
    for (topic, partition) in looked.partitions().into_iter().take(ENDS_MAX) {
        let Some(found) = image.topic(&topic) else { continue };
        let id = PartitionId(partition);
        let Some(leader) = found.partition(id).and_then(|state| state.leader) else { continue };
        wanted.push((leader, (found.id, id)));
        names.insert((found.id, id), (topic, partition));
    }
    let (ends, not_reached) = peers.ends(&wanted).await;
    let ends = ends.into_iter().filter_map(|(place, end)| Some((names.remove(&place)?, end))).collect();
    (ends, not_reached)
}
