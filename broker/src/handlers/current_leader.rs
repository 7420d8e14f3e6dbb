//! Telling a client that asked the wrong broker who leads instead, so that it need not ask for metadata (KIP-951).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::ResponseError;
use metadata::image::{MetadataImage, PartitionImage};
use metadata::record::BrokerState;
use protocol::{BrokerId, LeaderEpoch};

/// Leader of a partition that has none.
const NO_LEADER: BrokerId = BrokerId(-1);

/// The brokers that an answer names as leaders.
#[derive(Default)]
pub struct NamedLeaders {
    brokers: BTreeMap<BrokerId, Arc<BrokerState>>,
}

impl NamedLeaders {
    /// Whether an answer with this error says who leads.
    pub fn belong_to(error: ResponseError) -> bool {
        matches!(error, ResponseError::NotLeaderOrFollower | ResponseError::FencedLeaderEpoch)
    }

    /// What an answer about `partition` says of its leader, which is noted.
    pub fn name(&mut self, image: &MetadataImage, partition: &PartitionImage) -> (BrokerId, LeaderEpoch) {
        let broker = partition.leader.and_then(|leader| image.broker(leader));
        if let Some(broker) = broker {
            self.brokers.entry(broker.broker).or_insert_with(|| broker.clone());
        }
        (partition.leader.unwrap_or(NO_LEADER), partition.leader_epoch)
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
        let mut named = NamedLeaders::default();
        let answers: Vec<_> = topic(&image).partitions().map(|(_, p)| named.name(&image, p)).collect();
        let expected = [(2, 4), (2, 0), (3, 1), (-1, 7)].map(|(leader, epoch)| (BrokerId(leader), LeaderEpoch(epoch)));
        assert_eq!(answers, expected);
        // The third broker is not registered (yet): its address is not known.
        let brokers: Vec<_> = named.into_brokers().map(|broker| (broker.broker, broker.port)).collect();
        assert_eq!(brokers, [(BrokerId(2), 9002)]);
    }
}
