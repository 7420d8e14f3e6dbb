//! What clients are told of partitions when brokers are fenced or gone: who can be reached as leader, and which replicas are
//! offline.

use kafka_protocol::ResponseError;
use metadata::image::{MetadataImage, PartitionImage};
use protocol::BrokerId;

/// The leader, if clients may be sent to it. `cut_off` is this broker where it has no lease: others may lead by now what it led.
///
/// # Errors
/// As Kafka: LEADER_NOT_AVAILABLE where nobody leads or the leader is not known, LISTENER_NOT_FOUND where it is fenced.
pub fn leader(
    image: &MetadataImage,
    partition: &PartitionImage,
    cut_off: Option<BrokerId>,
) -> Result<BrokerId, ResponseError> {
    match leader_id(partition, cut_off).and_then(|leader| image.broker(leader)) {
        None => Err(ResponseError::LeaderNotAvailable),
        Some(broker) if broker.is_fenced() => Err(ResponseError::ListenerNotFound),
        Some(broker) => Ok(broker.broker),
    }
}

/// As [`leader`], also of a broker that is fenced or not known.
pub fn leader_id(partition: &PartitionImage, cut_off: Option<BrokerId>) -> Option<BrokerId> {
    partition.leader.filter(|leader| cut_off != Some(*leader) || partition.replicas.len() == 1)
}

/// Replicas on brokers that are fenced or not known.
pub fn offline_replicas(image: &MetadataImage, partition: &PartitionImage) -> Vec<BrokerId> {
    partition.replicas.iter().copied().filter(|replica| !image.is_unfenced(*replica)).collect()
}

/// Who clients are told is the controller. Any broker passes on what is for it, and Kafka names any that is alive; this one
/// names itself: a client that would look for the real one loses it with that broker, and librdkafka then waits for long.
/// -1 where no broker is let in.
pub fn controller_id(image: &MetadataImage, me: BrokerId) -> BrokerId {
    match image.is_unfenced(me) {
        true => me,
        // Clients look for it among the brokers that they are told of.
        false => image.unfenced_brokers().next().map_or(BrokerId(-1), |broker| broker.broker),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use metadata::record::{BrokerRegistration, BrokerState, MetadataRecord, NodeBinding};
    use protocol::LeaderEpoch;
    use uuid::Uuid;

    use super::*;

    /// Broker 1 is let in, broker 2 is fenced, broker 3 is not known.
    fn image() -> MetadataImage {
        let states = [(1, None), (2, Some(1))].map(|(id, fenced_at)| {
            let (broker, host) = (BrokerId(id), "h".to_owned());
            let registration = BrokerRegistration { broker, incarnation: Uuid::nil(), host, port: 1, rack: None };
            BrokerState { fenced_at, ..BrokerState::from(&registration) }
        });
        let records = states.into_iter().flat_map(|state| {
            let (node, directory_id, address) = (state.broker, Uuid::nil(), "h:1".to_owned());
            let bound = MetadataRecord::NodeBound(NodeBinding { node, directory_id, address });
            [bound, MetadataRecord::BrokerChanged(state)]
        });
        MetadataImage::default().apply_batch(&records.collect::<Vec<_>>()).unwrap().0
    }

    fn led_by(leader: Option<i32>) -> PartitionImage {
        let replicas: Arc<[BrokerId]> = [3, 2, 1].map(BrokerId).into();
        PartitionImage {
            isr: replicas.clone(),
            replicas,
            leader: leader.map(BrokerId),
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            reassignment: None,
            elr: Default::default(),
            last_known_elr: Default::default(),
        }
    }

    #[test]
    fn clients_are_sent_to_brokers_that_are_let_in() {
        let image = image();
        assert_eq!(leader(&image, &led_by(Some(1)), None), Ok(BrokerId(1)));
        assert_eq!(leader(&image, &led_by(Some(2)), None), Err(ResponseError::ListenerNotFound));
        assert_eq!(leader(&image, &led_by(Some(3)), None), Err(ResponseError::LeaderNotAvailable));
        assert_eq!(leader(&image, &led_by(None), None), Err(ResponseError::LeaderNotAvailable));
        assert_eq!(offline_replicas(&image, &led_by(None)), [BrokerId(3), BrokerId(2)]);
        assert_eq!([1, 2, 9].map(|me| controller_id(&image, BrokerId(me)).0), [1, 1, 1]);
        assert_eq!(controller_id(&MetadataImage::default(), BrokerId(1)), BrokerId(-1));
    }
}
