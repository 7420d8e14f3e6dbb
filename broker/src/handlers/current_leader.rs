//! Telling a client that asked the wrong broker who leads instead, so that it need not ask for metadata (KIP-951).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use metadata::image::{MetadataImage, PartitionImage};
use metadata::record::BrokerState;
use protocol::{BrokerId, LeaderEpoch};

use super::availability;

/// Leader of a partition that has none.
const NO_LEADER: BrokerId = BrokerId(-1);

/// The brokers that an answer names as leaders.
pub struct NamedLeaders {
    brokers: BTreeMap<BrokerId, Arc<BrokerState>>,
    cut_off: Option<BrokerId>,
}

impl NamedLeaders {
    /// None yet. `cut_off` is this broker where it has no lease: it does not send clients to itself then.
    pub fn new(cut_off: Option<BrokerId>) -> NamedLeaders {
        NamedLeaders { brokers: BTreeMap::new(), cut_off }
    }

    /// Whether an answer with this error says who leads.
    pub fn belong_to(error: ResponseError) -> bool {
        matches!(error, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch)
    }

    /// What an answer about `partition` says of its leader, which is noted.
    pub fn name(&mut self, image: &MetadataImage, partition: &PartitionImage) -> (BrokerId, LeaderEpoch) {
        let leader = availability::leader_id(partition, self.cut_off);
        let broker = leader.and_then(|leader| image.broker(leader));
        if let Some(broker) = broker {
            self.brokers.entry(broker.broker).or_insert_with(|| broker.clone());
        }
        (leader.unwrap_or(NO_LEADER), partition.leader_epoch)
    }

    /// Every broker that was named and is registered, once.
    pub fn into_brokers(self) -> impl Iterator<Item = Arc<BrokerState>> {
        self.brokers.into_values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{image_of, topic};

    #[test]
    fn a_leader_is_named_with_its_epoch_and_its_address_once() {
        let image =
            image_of(&[1, 2], &[(&[2, 1], Some(2), 4), (&[2], Some(2), 0), (&[3], Some(3), 1), (&[1], None, 7)]);
        let mut named = NamedLeaders::new(None);
        let answers: Vec<_> = topic(&image).partitions().map(|(_, p)| named.name(&image, p)).collect();
        let expected = [(2, 4), (2, 0), (3, 1), (-1, 7)].map(|(leader, epoch)| (BrokerId(leader), LeaderEpoch(epoch)));
        assert_eq!(answers, expected);
        // The third broker is not registered (yet): its address is not known.
        let brokers: Vec<_> = named.into_brokers().map(|broker| (broker.broker, broker.port)).collect();
        assert_eq!(brokers, [(BrokerId(2), 9002)]);
        let mut cut_off = NamedLeaders::new(Some(BrokerId(2)));
        let first = topic(&image).partition(protocol::PartitionId(0)).unwrap();
        assert_eq!(cut_off.name(&image, first), (BrokerId(-1), LeaderEpoch(4)));
        assert_eq!(cut_off.into_brokers().count(), 0);
    }
}
