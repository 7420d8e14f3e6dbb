//! Answers and records as the text that scenarios expect.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::Assignment;
use protocol::TopicId;

use super::super::records::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataValue,
};
use super::super::records::{DecodeError, GroupMetadataValue, OffsetCommitValue, Reader, RecordKey};
use super::super::{GroupReply, StoredRecord};
use super::scenario::{OTHER_TOPIC_ID, Scenario, topic_id};

impl Scenario {
    pub(super) fn show_reply(&mut self, client: &str, reply: GroupReply) -> String {
        let error = |code: i16| ResponseError::try_from_code(code).map_or("ok".to_owned(), |e| format!("{e:?}"));
        match reply {
            GroupReply::JoinGroup(r) => {
                let named = matches!(error(r.error_code).as_str(), "ok" | "MemberIdRequired");
                if named {
                    self.members.insert(client.to_owned(), (r.member_id.to_string(), r.generation_id));
                }
                if r.error_code != 0 {
                    return format!("{client}:join {}", error(r.error_code));
                }
                let mut shown = format!(
                    "{client}:join gen={} {} leader={}",
                    r.generation_id,
                    r.protocol_name.as_deref().unwrap_or("-"),
                    self.name(&r.leader)
                );
                if !r.members.is_empty() {
                    let members: Vec<String> = r
                        .members
                        .iter()
                        .map(|m| {
                            // A real subscription is not text.
                            let embedded = m.metadata.first() == Some(&0);
                            let metadata = String::from_utf8_lossy(&m.metadata);
                            format!("{}:{}", self.name(&m.member_id), if embedded { "@" } else { &*metadata })
                        })
                        .collect();
                    shown.push_str(&format!(" members={}", members.join(",")));
                }
                shown + if r.skip_assignment { " skip" } else { "" }
            }
            GroupReply::SyncGroup(r) if r.error_code == 0 => {
                format!("{client}:sync {}", show_assignment(&r.assignment))
            }
            GroupReply::SyncGroup(r) => format!("{client}:sync {}", error(r.error_code)),
            GroupReply::Heartbeat(r) => format!("{client}:beat {}", error(r.error_code)),
            GroupReply::LeaveGroup(r) if r.error_code != 0 || r.members.is_empty() => {
                format!("{client}:leave {}", error(r.error_code))
            }
            GroupReply::LeaveGroup(r) => {
                let members: Vec<String> = r.members.iter().map(|m| error(m.error_code)).collect();
                format!("{client}:leave [{}]", members.join(","))
            }
            GroupReply::OffsetCommit(r) => {
                let partitions: Vec<String> = r
                    .topics
                    .iter()
                    .flat_map(|t| t.partitions.iter().map(|p| (shown_topic(&t.name), p)))
                    .map(|(t, p)| format!("{t}-{}:{}", p.partition_index, error(p.error_code)))
                    .collect();
                format!("{client}:commit {}", partitions.join(" "))
            }
            GroupReply::OffsetFetch(r) => {
                let group = &r.groups[0];
                let partitions: Vec<String> = group
                    .topics
                    .iter()
                    .flat_map(|t| t.partitions.iter().map(|p| (shown_topic(&t.name), p)))
                    .map(|(t, p)| match p.error_code {
                        0 => {
                            let metadata = p.metadata.as_deref().unwrap_or("null");
                            format!("{t}-{}={}{metadata}", p.partition_index, p.committed_offset)
                        }
                        code => format!("{t}-{}:{}", p.partition_index, error(code)),
                    })
                    .collect();
                if group.error_code == 0 {
                    format!("fetch [{}]", partitions.join(" "))
                } else {
                    format!("fetch {}", error(group.error_code))
                }
            }
            GroupReply::OffsetDelete(r) if r.error_code != 0 => format!("delete-offsets {}", error(r.error_code)),
            GroupReply::OffsetDelete(r) => {
                let partitions: Vec<String> = r
                    .topics
                    .iter()
                    .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p)))
                    .map(|(t, p)| format!("{t}-{}:{}", p.partition_index, error(p.error_code)))
                    .collect();
                format!("delete-offsets {}", partitions.join(" "))
            }
            GroupReply::ListGroups(r) => {
                let groups: Vec<String> = r
                    .groups
                    .iter()
                    .map(|g| format!("{} {:?} {}", g.group_id.as_str(), g.protocol_type.as_str(), g.group_state))
                    .collect();
                format!("list [{}]", groups.join(", "))
            }
            GroupReply::DescribeGroups(r) => {
                let group = &r.groups[0];
                let members: Vec<&str> = group.members.iter().map(|m| self.name(&m.member_id)).collect();
                if group.error_code != 0 {
                    return format!("describe {} {}", group.group_state, error(group.error_code));
                }
                format!("describe {} {:?} [{}]", group.group_state, group.protocol_data.as_str(), members.join(","))
            }
            GroupReply::ConsumerGroupHeartbeat(r) if r.error_code != 0 => {
                if error(r.error_code) == "FencedMemberEpoch" {
                    self.members.remove(client);
                }
                format!("{client}:hb {}", error(r.error_code))
            }
            GroupReply::ConsumerGroupHeartbeat(r) => {
                let member_id = r.member_id.unwrap_or_default().to_string();
                self.members.insert(client.to_owned(), (member_id, r.member_epoch.max(0)));
                let assigned = r.assignment.map(|assignment| {
                    let topics = assignment.topic_partitions.into_iter();
                    self.show_partitions(topics.map(|topic| (TopicId(topic.topic_id), topic.partitions)))
                });
                let assigned = assigned.map_or(String::new(), |own| format!(" [{own}]"));
                let interval = match r.heartbeat_interval_ms {
                    0 | 5_000 => String::new(),
                    other => format!(" every {other}"),
                };
                format!("{client}:hb {}{assigned}{interval}", r.member_epoch)
            }
            GroupReply::ConsumerGroupDescribe(r) => {
                let group = &r.groups[0];
                if group.error_code != 0 {
                    return format!(
                        "cdescribe {} {:?}",
                        error(group.error_code),
                        group.error_message.as_deref().unwrap_or("")
                    );
                }
                let members: Vec<String> = group
                    .members
                    .iter()
                    .map(|member| {
                        let partitions = |assignment: &Assignment| {
                            let topics = assignment.topic_partitions.iter();
                            self.show_partitions(topics.map(|t| (TopicId(t.topic_id), t.partitions.clone())))
                        };
                        let (now, then) = (partitions(&member.assignment), partitions(&member.target_assignment));
                        let kind = if member.member_type == 0 { "/classic" } else { "" };
                        format!("{}{kind}@{} [{now}]->[{then}]", self.name(&member.member_id), member.member_epoch)
                    })
                    .collect();
                format!(
                    "cdescribe {} {} {}/{} {}",
                    group.group_state.as_str(),
                    group.assignor_name.as_str(),
                    group.group_epoch,
                    group.assignment_epoch,
                    members.join(" ")
                )
                .trim_end()
                .to_owned()
            }
            GroupReply::DeleteGroups(r) => format!("delete-group {}", error(r.results[0].error_code)),
        }
    }

    pub(super) fn show_record(&self, record: &StoredRecord) -> String {
        match (RecordKey::decode(&record.key).expect("our own key"), &record.value) {
            (RecordKey::OffsetCommit { topic, partition, .. }, None) => format!("no {topic}-{partition}"),
            (RecordKey::OffsetCommit { topic, partition, .. }, Some(value)) => {
                let value = OffsetCommitValue::decode(value).expect("our own value");
                // The old format that keeps a client's own retention has no room for it.
                let expected = match value.topic_id {
                    OTHER_TOPIC_ID => OTHER_TOPIC_ID,
                    _ if value.expire_timestamp_ms.is_some() => TopicId::ZERO,
                    _ => topic_id(&topic),
                };
                assert_eq!(value.topic_id, expected);
                format!("{topic}-{partition}={}", value.offset)
            }
            (RecordKey::GroupMetadata { group }, None) => format!("no {group}"),
            (RecordKey::ConsumerGroupMetadata { .. }, None) => "no epoch".to_owned(),
            (RecordKey::ConsumerGroupMetadata { .. }, Some(value)) => {
                let value = ConsumerGroupMetadataValue::decode(value).expect("our own value");
                format!("epoch {}", value.epoch)
            }
            (RecordKey::ConsumerGroupPartitionMetadata { .. }, value) => {
                assert_eq!(*value, None);
                "no topics".to_owned()
            }
            (RecordKey::ConsumerGroupMemberMetadata { member_id, .. }, None) => {
                format!("no {}", self.name(&member_id))
            }
            (RecordKey::ConsumerGroupMemberMetadata { member_id, .. }, Some(value)) => {
                let value = ConsumerGroupMemberMetadataValue::decode(value).expect("our own value");
                let names: Vec<&str> = value.subscribed_topic_names.iter().map(|name| name.as_str()).collect();
                let regex = value.subscribed_topic_regex.filter(|regex| !regex.is_empty());
                let regex = regex.map_or(String::new(), |regex| format!(" re={}", regex.as_str()));
                let kind = if value.classic.is_some() { "/classic" } else { "" };
                format!("{}{kind} s={}{regex}", self.name(&member_id), names.join(","))
            }
            (RecordKey::ConsumerGroupTargetAssignmentMetadata { .. }, None) => "no target".to_owned(),
            (RecordKey::ConsumerGroupTargetAssignmentMetadata { .. }, Some(value)) => {
                let value = ConsumerGroupTargetAssignmentMetadataValue::decode(value).expect("our own value");
                format!("target {}", value.assignment_epoch)
            }
            (RecordKey::ConsumerGroupTargetAssignmentMember { member_id, .. }, None) => {
                format!("{} no target", self.name(&member_id))
            }
            (RecordKey::ConsumerGroupTargetAssignmentMember { member_id, .. }, Some(value)) => {
                let value = ConsumerGroupTargetAssignmentMemberValue::decode(value).expect("our own value");
                let own =
                    self.show_partitions(value.partitions.into_iter().map(|(id, own)| (id, own.into_iter().collect())));
                format!("{}->[{own}]", self.name(&member_id))
            }
            (RecordKey::ConsumerGroupCurrentMemberAssignment { member_id, .. }, None) => {
                format!("{} has nothing", self.name(&member_id))
            }
            (RecordKey::ConsumerGroupCurrentMemberAssignment { member_id, .. }, Some(value)) => {
                let value = ConsumerGroupCurrentMemberAssignmentValue::decode(value).expect("our own value");
                let sets = [value.assigned, value.pending_revocation]
                    .map(|set| self.show_partitions(set.into_iter().map(|(id, own)| (id, own.into_keys().collect()))));
                let state = ["", " unrevoked", " unreleased"][value.state as usize];
                let [own, pending] = sets;
                let pending = if pending.is_empty() { String::new() } else { format!("-[{pending}]") };
                format!("{}@{} [{own}]{pending}{state}", self.name(&member_id), value.member_epoch)
            }
            (RecordKey::ConsumerGroupRegularExpression { regular_expression, .. }, None) => {
                format!("no re={}", regular_expression.as_str())
            }
            (RecordKey::ConsumerGroupRegularExpression { regular_expression, .. }, Some(value)) => {
                let value = ConsumerGroupRegularExpressionValue::decode(value).expect("our own value");
                let topics: Vec<&str> = value.topics.iter().map(|topic| topic.as_str()).collect();
                format!("re={}:{}", regular_expression.as_str(), topics.join(","))
            }
            (RecordKey::GroupMetadata { group }, Some(value)) => {
                let value = GroupMetadataValue::decode(value).expect("our own value");
                let mut shown = format!("{group} gen={}", value.generation);
                for member in &value.members {
                    let assignment = show_assignment(&member.assignment);
                    shown.push_str(&format!(" {}:{}", self.name(&member.member_id), assignment.trim_matches('"')));
                }
                shown
            }
        }
    }

    fn show_partitions(&self, topics: impl Iterator<Item = (TopicId, Vec<i32>)>) -> String {
        let mut partitions: Vec<String> = Vec::new();
        for (id, own) in topics {
            let name = ["t", "u", "v", "w"].into_iter().find(|name| topic_id(name) == id).unwrap_or("?");
            partitions.extend(own.iter().map(|partition| format!("{name}-{partition}")));
        }
        partitions.join(",")
    }
}

/// An assignment of the consumer protocol by its partitions, any other as text.
fn show_assignment(bytes: &[u8]) -> String {
    let embedded = bytes.first() == Some(&0);
    match embedded.then(|| embedded_partitions(bytes)).transpose() {
        Ok(Some(partitions)) => format!("[{partitions}]"),
        _ => format!("{:?}", String::from_utf8_lossy(bytes)),
    }
}

fn embedded_partitions(bytes: &[u8]) -> Result<String, DecodeError> {
    let mut reader = Reader::new(bytes);
    reader.i16()?;
    let mut partitions = Vec::new();
    for _ in 0..reader.i32()? {
        let topic = reader.string("topic")?;
        for _ in 0..reader.i32()? {
            partitions.push(format!("{topic}-{}", reader.i32()?));
        }
    }
    Ok(partitions.join(","))
}

/// A topic that is named by an id which nobody has has no name.
fn shown_topic(name: &str) -> &str {
    if name.is_empty() { "?" } else { name }
}
