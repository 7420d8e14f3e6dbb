//! What a topic that the load needs is created as: with replicas where the cluster likes, or all led by one broker.

use std::net::SocketAddr;

use kafka_protocol::messages::BrokerId;
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::metadata_response::MetadataResponseBroker;

use crate::client::topic_name;
use crate::load::error::LoadError;
use crate::load::settling::address_of;
use crate::load::workload::Workload;

/// The topic as CreateTopics takes it. With `one_leader` it is the broker at `asked` that leads, so that what leading costs
/// can be read off one process.
pub(super) fn new_topic(
    name: &str,
    workload: &Workload,
    asked: SocketAddr,
    brokers: &[MetadataResponseBroker],
) -> Result<CreatableTopic, LoadError> {
    let topic = CreatableTopic::default().with_name(topic_name(name));
    let (partitions, factor) = (workload.partitions, workload.replication_factor);
    // What cannot be is for the cluster to refuse: it knows why.
    let is_possible = factor as usize <= brokers.len();
    if !workload.one_leader || brokers.len() == 1 || !is_possible {
        return Ok(topic.with_num_partitions(partitions).with_replication_factor(factor));
    }
    let mut leader = None;
    for broker in brokers {
        if address_of(broker, asked)? == asked {
            leader = Some(broker.node_id);
        }
    }
    let Some(leader) = leader else {
        let known = brokers.iter().map(|broker| format!("{}:{}", broker.host, broker.port));
        return Err(LoadError::NotListed { broker: asked, known: known.collect::<Vec<_>>().join(", ") });
    };
    let mut others: Vec<BrokerId> = brokers.iter().map(|broker| broker.node_id).filter(|id| *id != leader).collect();
    others.sort_unstable();
    let assignment = |partition: i32| {
        // Followers in turn, so that where there are more than needed they have the same to do.
        let first = partition as usize % others.len();
        let followers = others.iter().cycle().skip(first).take(factor as usize - 1);
        let replicas = std::iter::once(&leader).chain(followers).copied().collect();
        CreatableReplicaAssignment::default().with_partition_index(partition).with_broker_ids(replicas)
    };
    let assignments = (0..partitions).map(assignment).collect();
    Ok(topic.with_num_partitions(-1).with_replication_factor(-1).with_assignments(assignments))
}

#[cfg(test)]
mod tests {
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    fn asked(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    fn topic(more: &str, port: u16, brokers: i32) -> Result<CreatableTopic, LoadError> {
        let text = format!("name = 'w'\nrecord_size = 24\npartitions = 3\nduration_seconds = 1\n{more}");
        let workload = Workload::parse("w", &text, &[]).unwrap();
        let broker = |id: i32| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(id))
                .with_host(StrBytes::from_static_str("127.0.0.1"))
                .with_port(100 + id)
        };
        let brokers: Vec<_> = (1..=brokers).map(broker).collect();
        new_topic("t", &workload, asked(port), &brokers)
    }

    #[test]
    fn usually_the_cluster_decides() {
        let topic = topic("replication_factor = 3", 101, 3).unwrap();
        assert_eq!((topic.num_partitions, topic.replication_factor, topic.assignments.len()), (3, 3, 0));
    }

    #[test]
    fn one_broker_leads_and_the_others_follow_in_turn() {
        let replicas = |more, brokers| -> Vec<Vec<i32>> {
            let topic = topic(&format!("one_leader = true\nreplication_factor = {more}"), 102, brokers).unwrap();
            assert_eq!((topic.num_partitions, topic.replication_factor), (-1, -1));
            let ids = |one: &CreatableReplicaAssignment| one.broker_ids.iter().map(|id| id.0).collect();
            topic.assignments.iter().map(ids).collect()
        };
        assert_eq!(replicas(3, 3), [[2, 1, 3], [2, 3, 1], [2, 1, 3]]);
        assert_eq!(replicas(2, 4), [[2, 1], [2, 3], [2, 4]]);
        assert_eq!(replicas(1, 3), [[2], [2], [2]]);
    }

    #[test]
    fn who_is_not_there_cannot_lead() {
        let error = topic("one_leader = true", 7, 2).unwrap_err().to_string();
        assert!(error.contains("127.0.0.1:7") && error.contains("127.0.0.1:101, 127.0.0.1:102"), "{error}");
        // More replicas than brokers: the cluster says no.
        let refused = topic("one_leader = true\nreplication_factor = 3", 101, 2).unwrap();
        assert_eq!((refused.replication_factor, refused.assignments.len()), (3, 0));
    }
}
