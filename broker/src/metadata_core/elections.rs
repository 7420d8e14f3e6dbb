//! Asking brokers how their logs end before somebody is elected.

use std::time::Duration;

use futures_util::future::join_all;
use metadata::controller::{LogEnd, LogEnds, PartitionKey, Questions};
use metadata::image::MetadataImage;
use protocol::BrokerId;

use super::inspect::{self, LogEndsOf};
use crate::internal::handshake::Purpose;
use crate::internal::links::Links;
use crate::internal::listener::Shards;

/// How long a broker may take to tell. One that is silent for longer is not waited for: any candidate may lead, and the
/// partition takes no writes meanwhile.
const PATIENCE: Duration = Duration::from_millis(100);

/// What it takes to ask.
pub struct Polling {
    pub me: BrokerId,
    pub links: Links,
    /// This broker's own.
    pub shards: Shards,
}

impl Polling {
    /// Asks all at once, and gives what was told in time.
    pub async fn ask(&self, image: &MetadataImage, questions: Questions) -> LogEnds {
        let asked = questions.into_iter().map(|(broker, partitions)| async move {
            let told = tokio::time::timeout(PATIENCE, self.ask_one(image, broker, &partitions)).await;
            let ends = told.unwrap_or_else(|_| Err("no answer in time".to_owned()));
            (broker, partitions, ends)
        });
        let mut told = LogEnds::default();
        for (broker, partitions, ends) in join_all(asked).await {
            match ends {
                Ok(ends) => {
                    for (partition, end) in partitions.into_iter().zip(ends) {
                        match end {
                            Some(end) => told.insert(partition, broker, end),
                            None => told.insert_not_open(partition, broker),
                        }
                    }
                }
                Err(reason) => tracing::info!(%broker, reason, "a broker has not told how its logs end"),
            }
        }
        told
    }

    async fn ask_one(
        &self,
        image: &MetadataImage,
        broker: BrokerId,
        partitions: &[PartitionKey],
    ) -> Result<Vec<Option<LogEnd>>, String> {
        let question = LogEndsOf { partitions: partitions.to_vec() };
        if broker == self.me {
            return Ok(inspect::log_ends(&question, &self.shards).await);
        }
        let node = image.node(broker).ok_or("it does not belong to the cluster")?;
        inspect::ask(&self.links, &self.links.callee(Purpose::Inspect, node), question, PATIENCE).await
    }
}
