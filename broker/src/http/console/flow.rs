//! `/api/v1/live` and `/api/v1/shards`: what passes through brokers, as each of them tells of itself.

use std::sync::Arc;

use axum::extract::State;
use futures_util::future::join_all;
use protocol::BrokerId;
use serde::Serialize;

use super::Console;
use super::answer::{Answered, ConsoleError, laid_out};
use super::peers::{NotReached, Peers};
use super::query::{Parameters, RawParameters};
use crate::live::{LiveView, Sample, ShardLine};
use crate::metadata_core::views::LiveOf;

/// Brokers that are asked at most, those with the lowest ids.
const BROKERS_MAX: usize = 32;

/// The numbers of a sample, in this order: names once, since there are thousands of samples.
const FIELDS: [&str; 14] = [
    "at_ms",
    "connections",
    "requests",
    "produce_requests",
    "fetch_requests",
    "produced_bytes",
    "produced_batches",
    "produced_records",
    "fetched_bytes",
    "fetched_records",
    "produce_p50_us",
    "produce_p99_us",
    "fetch_p50_us",
    "fetch_p99_us",
];

type Row = [Option<u64>; FIELDS.len()];

fn row(sample: &Sample) -> Row {
    let latency = &sample.latency;
    [
        Some(sample.at_ms),
        Some(sample.connections),
        Some(sample.requests),
        Some(sample.produce_requests),
        Some(sample.fetch_requests),
        Some(sample.produced_bytes),
        Some(sample.produced_batches),
        Some(sample.produced_records),
        Some(sample.fetched_bytes),
        Some(sample.fetched_records),
        latency.produce_p50_us.map(u64::from),
        latency.produce_p99_us.map(u64::from),
        latency.fetch_p50_us.map(u64::from),
        latency.fetch_p99_us.map(u64::from),
    ]
}

#[derive(Serialize)]
struct LiveAnswer {
    fields: [&'static str; FIELDS.len()],
    brokers: Vec<BrokerSamples>,
    not_reached: Vec<NotReached>,
    /// Brokers that were not asked.
    omitted: usize,
}

#[derive(Serialize)]
struct BrokerSamples {
    broker: i32,
    samples: Vec<Row>,
}

#[derive(Serialize)]
struct Shards {
    brokers: Vec<BrokerShards>,
    not_reached: Vec<NotReached>,
    omitted: usize,
}

#[derive(Serialize)]
struct BrokerShards {
    broker: i32,
    version: String,
    uptime_ms: u64,
    shards: Vec<ShardLine>,
}

/// What each broker that was asked told.
struct Told {
    views: Vec<(BrokerId, LiveView)>,
    not_reached: Vec<NotReached>,
    omitted: usize,
}

pub async fn live(State(console): State<Arc<Console>>, parameters: RawParameters) -> Answered {
    let parameters = Parameters::new(parameters)?;
    let since_ms = parameters.number("since_ms", 0..=u64::MAX, 0)?;
    let told = told(console.peers()?, &parameters, since_ms).await?;
    laid_out(move || {
        let of_broker = |(broker, view): (BrokerId, LiveView)| BrokerSamples {
            broker: broker.0,
            samples: view.samples.iter().map(row).collect(),
        };
        let Told { views, not_reached, omitted } = told;
        Ok(LiveAnswer { fields: FIELDS, brokers: views.into_iter().map(of_broker).collect(), not_reached, omitted })
    })
    .await
}

pub async fn shards(State(console): State<Arc<Console>>, parameters: RawParameters) -> Answered {
    let parameters = Parameters::new(parameters)?;
    let told = told(console.peers()?, &parameters, u64::MAX).await?;
    laid_out(move || {
        let of_broker = |(broker, view): (BrokerId, LiveView)| BrokerShards {
            broker: broker.0,
            version: view.version,
            uptime_ms: view.uptime_ms,
            shards: view.shards,
        };
        let Told { views, not_reached, omitted } = told;
        Ok(Shards { brokers: views.into_iter().map(of_broker).collect(), not_reached, omitted })
    })
    .await
}

/// Asks the broker that is named, or all.
async fn told(peers: &Peers, parameters: &Parameters, since_ms: u64) -> Result<Told, ConsoleError> {
    let image = peers.image();
    let mut brokers: Vec<BrokerId> = image.brokers().map(|broker| broker.broker).collect();
    if parameters.text("broker")?.is_some() {
        let broker = BrokerId(parameters.number("broker", 0..=i32::MAX, 0)?);
        if !brokers.contains(&broker) {
            return Err(ConsoleError::NoSuchBroker { broker: broker.0 });
        }
        brokers = vec![broker];
    }
    let omitted = brokers.len().saturating_sub(BROKERS_MAX);
    brokers.truncate(BROKERS_MAX);
    let asked = brokers.into_iter().map(|broker| async move {
        match image_says_gone(peers, broker) {
            Some(reason) => (broker, Err(reason)),
            None => (broker, peers.ask(broker, LiveOf { since_ms }).await),
        }
    });
    let mut told = Told { views: Vec::new(), not_reached: Vec::new(), omitted };
    for (broker, answered) in join_all(asked).await {
        match answered {
            Ok(view) => told.views.push((broker, view)),
            Err(reason) => told.not_reached.push(NotReached { broker: broker.0, reason }),
        }
    }
    Ok(told)
}

/// A broker that is fenced is not waited for.
fn image_says_gone(peers: &Peers, broker: BrokerId) -> Option<String> {
    let is_gone = broker != peers.me && !peers.images.borrow().is_unfenced(broker);
    is_gone.then(|| "it is fenced: the controller does not hear of it".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::Latency;

    #[test]
    fn a_row_has_its_numbers_where_the_fields_say() {
        let latency = Latency { produce_p50_us: Some(10), fetch_p99_us: Some(12), ..Latency::default() };
        let sample = Sample {
            at_ms: 0,
            connections: 1,
            requests: 2,
            produce_requests: 3,
            fetch_requests: 4,
            produced_bytes: 5,
            produced_batches: 6,
            produced_records: 7,
            fetched_bytes: 8,
            fetched_records: 9,
            latency,
        };
        let row = row(&sample);
        let of = |field: &str| row[FIELDS.iter().position(|name| *name == field).unwrap()];
        assert_eq!(row[..11], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].map(Some));
        assert_eq!((of("produced_records"), of("fetch_p50_us"), of("fetch_p99_us")), (Some(7), None, Some(12)));
    }
}
