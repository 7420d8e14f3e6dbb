//! What clients are told of partitions when brokers are fenced or gone: who can be reached as leader, and which replicas are
//! offline.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use metadata::image::{MetadataImage, PartitionImage};
use metadata::record::BrokerState;
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

/// Brokers that clients are told of: those that are let in. Where none is (all of them are being stopped, or start again), all
/// that are registered. Kafka names nobody then, and librdkafka, which forgets brokers that an answer does not name, is left
/// without any and never comes back (since its version 2.10; confluentinc/librdkafka#5301).
pub fn named_brokers(image: &MetadataImage) -> impl Iterator<Item = &Arc<BrokerState>> {
    let some_let_in = image.unfenced_brokers().next().is_some();
    image.brokers().filter(move |broker| !some_let_in || !broker.is_fenced())
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
    use metadata::record::{BrokerRegistration, MetadataRecord, NodeBinding};
    use protocol::LeaderEpoch;
    use uuid::Uuid;

    use super::*;

    /// Broker 1 is let in, broker 2 is fenced, broker 3 is not known.
    fn image() -> MetadataImage {
        image_of([(1, None), (2, Some(1))])
    }

    /// Of brokers, and since which offset each is fenced.
    fn image_of<const N: usize>(states: [(i32, Option<u64>); N]) -> MetadataImage {
        let states = states.map(|(id, fenced_at)| {
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

    #[test]
    fn clients_are_always_told_of_some_broker() {
        let named = |image: &MetadataImage| named_brokers(image).map(|broker| broker.broker.0).collect::<Vec<_>>();
        assert_eq!(named(&image()), [1]);
        assert_eq!(named(&image_of([(1, Some(4)), (2, Some(1))])), [1, 2], "all are fenced");
    }
}
