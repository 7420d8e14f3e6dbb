//! The error codes of a response, wherever it has them.

use super::ResponseBody;

impl ResponseBody {
    /// Calls `each` with every error code of the response but success: of the whole, of topics, of partitions and so on.
    /// Allocates nothing.
    pub fn for_each_error(&self, mut each: impl FnMut(i16)) {
        let mut note = |code: i16| {
            if code != crate::error_code::NONE {
                each(code);
            }
        };
        match self {
            ResponseBody::Produce(body) => {
                for partition in body.responses.iter().flat_map(|topic| &topic.partition_responses) {
                    note(partition.error_code);
                }
            }
            ResponseBody::Fetch(body) => {
                note(body.error_code);
                for partition in body.responses.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::ListOffsets(body) => {
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::Metadata(body) => {
                note(body.error_code);
                for topic in &body.topics {
                    note(topic.error_code);
                    topic.partitions.iter().for_each(|partition| note(partition.error_code));
                }
            }
            ResponseBody::OffsetCommit(body) => {
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::OffsetFetch(body) => {
                note(body.error_code);
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
                for group in &body.groups {
                    note(group.error_code);
                    for partition in group.topics.iter().flat_map(|topic| &topic.partitions) {
                        note(partition.error_code);
                    }
                }
            }
            ResponseBody::FindCoordinator(body) => {
                note(body.error_code);
                body.coordinators.iter().for_each(|coordinator| note(coordinator.error_code));
            }
            ResponseBody::JoinGroup(body) => note(body.error_code),
            ResponseBody::Heartbeat(body) => note(body.error_code),
            ResponseBody::LeaveGroup(body) => {
                note(body.error_code);
                body.members.iter().for_each(|member| note(member.error_code));
            }
            ResponseBody::SyncGroup(body) => note(body.error_code),
            ResponseBody::DescribeGroups(body) => body.groups.iter().for_each(|group| note(group.error_code)),
            ResponseBody::ListGroups(body) => note(body.error_code),
            ResponseBody::ApiVersions(body) => note(body.error_code),
            ResponseBody::CreateTopics(body) => body.topics.iter().for_each(|topic| note(topic.error_code)),
            ResponseBody::DeleteTopics(body) => body.responses.iter().for_each(|topic| note(topic.error_code)),
            ResponseBody::DeleteRecords(body) => {
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::InitProducerId(body) => note(body.error_code),
            ResponseBody::OffsetForLeaderEpoch(body) => {
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::DescribeConfigs(body) => body.results.iter().for_each(|result| note(result.error_code)),
            ResponseBody::AlterConfigs(body) => body.responses.iter().for_each(|response| note(response.error_code)),
            ResponseBody::DescribeLogDirs(body) => {
                note(body.error_code);
                body.results.iter().for_each(|result| note(result.error_code));
            }
            ResponseBody::CreatePartitions(body) => body.results.iter().for_each(|result| note(result.error_code)),
            ResponseBody::DeleteGroups(body) => body.results.iter().for_each(|result| note(result.error_code)),
            ResponseBody::ElectLeaders(body) => {
                note(body.error_code);
                for partition in body.replica_election_results.iter().flat_map(|topic| &topic.partition_result) {
                    note(partition.error_code);
                }
            }
            ResponseBody::IncrementalAlterConfigs(body) => {
                body.responses.iter().for_each(|response| note(response.error_code));
            }
            ResponseBody::AlterPartitionReassignments(body) => {
                note(body.error_code);
                for partition in body.responses.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::ListPartitionReassignments(body) => note(body.error_code),
            ResponseBody::OffsetDelete(body) => {
                note(body.error_code);
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::DescribeQuorum(body) => {
                note(body.error_code);
                for partition in body.topics.iter().flat_map(|topic| &topic.partitions) {
                    note(partition.error_code);
                }
            }
            ResponseBody::DescribeCluster(body) => note(body.error_code),
            ResponseBody::UnregisterBroker(body) => note(body.error_code),
            ResponseBody::ConsumerGroupHeartbeat(body) => note(body.error_code),
            ResponseBody::ConsumerGroupDescribe(body) => body.groups.iter().for_each(|group| note(group.error_code)),
            ResponseBody::ListConfigResources(body) => note(body.error_code),
            ResponseBody::DescribeTopicPartitions(body) => {
                for topic in &body.topics {
                    note(topic.error_code);
                    topic.partitions.iter().for_each(|partition| note(partition.error_code));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kafka_protocol::messages;
    use kafka_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    use kafka_protocol::messages::offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartitions, OffsetFetchResponseTopics,
    };

    fn errors(body: impl Into<ResponseBody>) -> Vec<i16> {
        let mut errors = Vec::new();
        body.into().for_each_error(|code| errors.push(code));
        errors
    }

    #[test]
    fn errors_are_found_on_every_level_and_success_is_none() {
        let partition = |code| MetadataResponsePartition::default().with_error_code(code);
        let topic = MetadataResponseTopic::default().with_error_code(3).with_partitions(vec![
            partition(5),
            partition(0),
            partition(6),
        ]);
        let metadata = messages::MetadataResponse::default().with_error_code(-1).with_topics(vec![topic]);
        assert_eq!(errors(metadata), [-1, 3, 5, 6]);
        let partition = OffsetFetchResponsePartitions::default().with_error_code(3);
        let topic = OffsetFetchResponseTopics::default().with_partitions(vec![partition]);
        let group = OffsetFetchResponseGroup::default().with_error_code(16).with_topics(vec![topic]);
        assert_eq!(errors(messages::OffsetFetchResponse::default().with_groups(vec![group])), [16, 3]);
        assert_eq!(errors(messages::HeartbeatResponse::default().with_error_code(27)), [27]);
        assert_eq!(errors(messages::HeartbeatResponse::default()), []);
    }
}
