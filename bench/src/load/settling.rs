//! Whether what Metadata says of topics can take load, and who leads their partitions then.

use std::net::{SocketAddr, ToSocketAddrs};

use kafka_protocol::messages::MetadataResponse;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use crate::load::error::LoadError;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const LEADER_NOT_AVAILABLE: i16 = 5;
const REPLICA_NOT_AVAILABLE: i16 = 9;

/// What there is to wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Settling {
    pub(super) topic: String,
    pub(super) partition: i32,
    /// How it was found.
    pub(super) found: String,
}

/// The leader of each partition of these topics, in their order; or the first that has none yet, or not all its replicas in
/// sync. `broker` is the one that was asked.
pub(super) fn settled(
    names: &[String],
    partitions: i32,
    broker: SocketAddr,
    metadata: &MetadataResponse,
) -> Result<Result<Vec<SocketAddr>, Settling>, LoadError> {
    let mut of_slots = Vec::with_capacity(names.len() * partitions as usize);
    for name in names {
        let topic = metadata.topics.iter().find(|topic| name_of(topic) == *name);
        let topic = topic.ok_or_else(|| LoadError::Metadata { topic: name.clone(), code: -1 })?;
        let wait = |partition, found| Ok(Err(Settling { topic: name.clone(), partition, found }));
        match topic.error_code {
            0 => {}
            UNKNOWN_TOPIC_OR_PARTITION | LEADER_NOT_AVAILABLE => {
                return wait(0, format!("Metadata gives error code {}", topic.error_code));
            }
            code => return Err(LoadError::Metadata { topic: name.clone(), code }),
        }
        let found = topic.partitions.len();
        if found != partitions as usize {
            return Err(LoadError::Partitions { topic: name.clone(), expected: partitions, found });
        }
        let mut in_order: Vec<&MetadataResponsePartition> = topic.partitions.iter().collect();
        in_order.sort_by_key(|partition| partition.partition_index);
        for partition in in_order {
            if let Some(found) = not_ready(partition) {
                return wait(partition.partition_index, found);
            }
            // A lone broker may have any name by which others reach it.
            let address = match metadata.brokers.as_slice() {
                [_] => broker,
                brokers => match brokers.iter().find(|broker| broker.node_id == partition.leader_id) {
                    Some(leader) => address_of(leader, broker)?,
                    None => {
                        return wait(
                            partition.partition_index,
                            format!("its leader {} is gone", partition.leader_id.0),
                        );
                    }
                },
            };
            of_slots.push(address);
        }
    }
    Ok(Ok(of_slots))
}

fn not_ready(partition: &MetadataResponsePartition) -> Option<String> {
    match partition.error_code {
        0 | REPLICA_NOT_AVAILABLE => {}
        code => return Some(format!("Metadata gives error code {code}")),
    }
    if partition.leader_id.0 < 0 {
        return Some("it has no leader".to_owned());
    }
    let (replicas, in_sync) = (partition.replica_nodes.len(), partition.isr_nodes.len());
    (in_sync < replicas).then(|| format!("{in_sync} of {replicas} replicas are in sync"))
}

/// Where a broker is by what the cluster says; the `asked` one's address is as we have it.
pub(super) fn address_of(broker: &MetadataResponseBroker, asked: SocketAddr) -> Result<SocketAddr, LoadError> {
    let address = format!("{}:{}", broker.host, broker.port);
    let unresolved = |reason: String| LoadError::Unresolved { id: broker.node_id.0, address: address.clone(), reason };
    let found: Vec<_> = address.to_socket_addrs().map_err(|error| unresolved(error.to_string()))?.collect();
    match found.first() {
        Some(_) if found.contains(&asked) => Ok(asked),
        Some(first) => Ok(*first),
        None => Err(unresolved("the name has no address".to_owned())),
    }
}

/// The topic's name.
pub(super) fn name_of(topic: &MetadataResponseTopic) -> String {
    topic.name.as_ref().map_or_else(String::new, |name| name.to_string())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::BrokerId;
    use kafka_protocol::protocol::StrBytes;

    use super::*;
    use crate::client::topic_name;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn partition(index: i32, leader: i32, replicas: &[i32], in_sync: &[i32]) -> MetadataResponsePartition {
        let ids = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(BrokerId(leader))
            .with_replica_nodes(ids(replicas))
            .with_isr_nodes(ids(in_sync))
    }

    fn look(ports: &[u16], partitions: Vec<MetadataResponsePartition>) -> Result<Vec<SocketAddr>, String> {
        let broker = |(id, port): (i32, &u16)| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(i32::from(*port))
        };
        let count = partitions.len() as i32;
        let topic = MetadataResponseTopic::default().with_name(Some(topic_name("t"))).with_partitions(partitions);
        let metadata =
            MetadataResponse::default().with_brokers((1..).zip(ports).map(broker).collect()).with_topics(vec![topic]);
        let found = settled(&["t".to_owned()], count, address(9), &metadata).map_err(|error| error.to_string())?;
        found.map_err(|settling| format!("{} {}: {}", settling.topic, settling.partition, settling.found))
    }

    #[test]
    fn leaders_are_given_in_the_order_of_partitions() {
        let all = [1, 2];
        let found = look(&[7, 8], vec![partition(1, 2, &all, &all), partition(0, 1, &all, &all)]);
        assert_eq!(found, Ok(vec![address(7), address(8)]));
        // A lone broker is where we reach it.
        assert_eq!(look(&[7], vec![partition(0, 1, &[1], &[1])]), Ok(vec![address(9)]));
    }

    #[test]
    fn what_is_not_there_yet_is_waited_for() {
        let all = [1, 2];
        let ready = || partition(0, 1, &all, &all);
        let look = |second| look(&[7, 8], vec![ready(), second]).unwrap_err();
        assert_eq!(look(partition(1, -1, &all, &all)), "t 1: it has no leader");
        assert_eq!(look(partition(1, 2, &all, &[2])), "t 1: 1 of 2 replicas are in sync");
        assert_eq!(look(partition(1, 5, &all, &all)), "t 1: its leader 5 is gone");
        let unavailable = partition(1, 2, &all, &all).with_error_code(LEADER_NOT_AVAILABLE);
        assert_eq!(look(unavailable), "t 1: Metadata gives error code 5");
    }
}
