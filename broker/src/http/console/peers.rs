//! The way to every broker of the cluster, this one included: questions over the internal port, each asked once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use metadata::image::MetadataImage;
use metadata::raft::{Handle, QuorumStatus};
use protocol::{BrokerId, PartitionId, TopicId};
use tokio::sync::watch;

use crate::internal::handshake::Purpose;
use crate::internal::links::Links;
use crate::internal::listener::Shards;
use crate::live::Live;
use crate::metadata_core::inspect::{self, Inspect, LED_ENDS_MAX, LedEnds};
use crate::metadata_core::request::DescribeQuorum;
use crate::metadata_core::router::Router;
use crate::metadata_core::views::{LED_VIEWS_MAX, LedPartition, LedViews};

/// How long another broker may take to answer. People wait, and one that is away must not make them wait long.
const PATIENCE: Duration = Duration::from_millis(1500);
/// How long this broker's own shards may take: a request of the console keeps its turn as long, and a disk may hang.
const OWN_PATIENCE: Duration = Duration::from_secs(10);

/// A partition by what does not change.
pub type Place = (TopicId, PartitionId);

/// See the module's documentation. `Clone` is cheap.
#[derive(Clone)]
pub struct Peers {
    pub me: BrokerId,
    pub images: watch::Receiver<MetadataImage>,
    pub raft: Handle,
    pub router: Router,
    pub links: Links,
    pub shards: Shards,
    pub live: Arc<Live>,
}

impl Peers {
    pub fn image(&self) -> MetadataImage {
        self.images.borrow().clone()
    }

    /// Asks one broker; the error says why it did not answer.
    pub async fn ask<I: Inspect>(&self, broker: BrokerId, question: I) -> Result<I::Answer, String> {
        let image = self.image();
        if broker == self.me {
            let quorum = || self.raft.status();
            let answer = inspect::ask_here(question, &image, quorum, &self.links, &self.shards, &self.live);
            let late = || format!("no answer within {} s", OWN_PATIENCE.as_secs());
            return tokio::time::timeout(OWN_PATIENCE, answer).await.map_err(|_| late())?;
        }
        let node = image.node(broker).ok_or_else(|| format!("broker {broker} does not belong to the cluster"))?;
        inspect::ask(&self.links, &self.links.callee(Purpose::Inspect, node), question, PATIENCE).await
    }

    /// The quorum as its leader sees it; if that cannot be asked now, as this broker does.
    pub async fn quorum(&self) -> QuorumStatus {
        match self.router.ask(DescribeQuorum, PATIENCE).await {
            Ok((status, _)) => status,
            Err(_) => self.raft.status(),
        }
    }

    /// Partitions as their leaders see them, as far as these answer, and which brokers did not.
    pub async fn led(&self, wanted: &[(BrokerId, Place)]) -> (HashMap<Place, LedPartition>, Vec<NotReached>) {
        let ask = |broker, places: Vec<Place>| async move {
            let mut found = Vec::new();
            for places in places.chunks(LED_VIEWS_MAX) {
                let views = self.ask(broker, LedViews { partitions: places.to_vec() }).await?;
                found.extend(places.iter().zip(views).filter_map(|(place, view)| Some((*place, view?))));
            }
            Ok(found)
        };
        self.of_leaders(wanted, ask).await
    }

    /// High watermarks of these partitions, as far as their leaders answer, and which brokers did not.
    pub async fn ends(&self, wanted: &[(BrokerId, Place)]) -> (HashMap<Place, i64>, Vec<NotReached>) {
        let ask = |broker, places: Vec<Place>| async move {
            let mut found = Vec::new();
            for places in places.chunks(LED_ENDS_MAX) {
                let ends = self.ask(broker, LedEnds { partitions: places.to_vec() }).await?;
                found.extend(places.iter().zip(ends).filter_map(|(place, end)| Some((*place, end?))));
            }
            Ok(found)
        };
        self.of_leaders(wanted, ask).await
    }

    /// Asks all leaders at once.
    async fn of_leaders<T, F: Future<Output = Result<Vec<(Place, T)>, String>>>(
        &self,
        wanted: &[(BrokerId, Place)],
        ask: impl Fn(BrokerId, Vec<Place>) -> F,
    ) -> (HashMap<Place, T>, Vec<NotReached>) {
        let mut by_leader: BTreeMap<BrokerId, BTreeSet<Place>> = BTreeMap::new();
        for (leader, place) in wanted {
            by_leader.entry(*leader).or_default().insert(*place);
        }
        let asked = by_leader.into_iter().map(|(broker, places)| {
            let answered = ask(broker, places.into_iter().collect());
            async move { (broker, answered.await) }
        });
        let (mut found, mut not_reached) = (HashMap::new(), Vec::new());
        for (broker, answered) in join_all(asked).await {
            match answered {
                Ok(answers) => found.extend(answers),
                Err(reason) => not_reached.push(NotReached { broker: broker.0, reason }),
            }
        }
        (found, not_reached)
    }
}

/// A broker that did not answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct NotReached {
    pub broker: i32,
    pub reason: String,
}
