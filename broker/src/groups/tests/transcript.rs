//! Answers and records as the text that scenarios expect.

use kafka_protocol::ResponseError;
use protocol::TopicId;

use super::super::records::{GroupMetadataValue, OffsetCommitValue, RecordKey};
use super::super::{GroupReply, StoredRecord};
use super::scenario::{Scenario, topic_id};

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
                        .map(|m| format!("{}:{}", self.name(&m.member_id), String::from_utf8_lossy(&m.metadata)))
                        .collect();
                    shown.push_str(&format!(" members={}", members.join(",")));
                }
                shown + if r.skip_assignment { " skip" } else { "" }
            }
            GroupReply::SyncGroup(r) if r.error_code == 0 => {
                format!("{client}:sync {:?}", String::from_utf8_lossy(&r.assignment))
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
                    .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p)))
                    .map(|(t, p)| format!("{t}-{}:{}", p.partition_index, error(p.error_code)))
                    .collect();
                format!("{client}:commit {}", partitions.join(" "))
            }
            GroupReply::OffsetFetch(r) => {
                let group = &r.groups[0];
                let partitions: Vec<String> = group
                    .topics
                    .iter()
                    .flat_map(|t| t.partitions.iter().map(|p| (t.name.as_str(), p)))
                    .map(|(t, p)| {
                        let metadata = p.metadata.as_deref().unwrap_or("null");
                        format!("{t}-{}={}{metadata}", p.partition_index, p.committed_offset)
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
            GroupReply::DeleteGroups(r) => format!("delete-group {}", error(r.results[0].error_code)),
        }
    }

    pub(super) fn show_record(&self, record: &StoredRecord) -> String {
        match (RecordKey::decode(&record.key).expect("our own key"), &record.value) {
            (RecordKey::OffsetCommit { topic, partition, .. }, None) => format!("no {topic}-{partition}"),
            (RecordKey::OffsetCommit { topic, partition, .. }, Some(value)) => {
                let value = OffsetCommitValue::decode(value).expect("our own value");
                // The old format that keeps a client's own retention has no room for it.
                let expected = if value.expire_timestamp_ms.is_some() { TopicId::ZERO } else { topic_id(&topic) };
                assert_eq!(value.topic_id, expected);
                format!("{topic}-{partition}={}", value.offset)
            }
            (RecordKey::GroupMetadata { group }, None) => format!("no {group}"),
            (RecordKey::GroupMetadata { group }, Some(value)) => {
                let value = GroupMetadataValue::decode(value).expect("our own value");
                let mut shown = format!("{group} gen={}", value.generation);
                for member in &value.members {
                    let assignment = String::from_utf8_lossy(&member.assignment);
                    shown.push_str(&format!(" {}:{assignment}", self.name(&member.member_id)));
                }
                shown
            }
            (key, _) => panic!("{key:?} is not of a classic group"),
        }
    }
}
