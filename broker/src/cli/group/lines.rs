//! The lines that describe groups, as people and programs read them: pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::committed::Offsets;
use super::described::{Group, Member, Partitions};
use crate::cli::kafka::PartitionName;
use crate::cli::table::{Table, known, numbers, words};

/// A group with what there is to say of it.
#[derive(Debug)]
pub(super) struct Shown {
    pub name: String,
    pub group: Group,
    pub offsets: Offsets,
}

/// Where partitions' logs end, as far as it is known.
pub(super) type LogEnds = BTreeMap<PartitionName, i64>;

/// How far a group is in a partition.
struct Line<'a> {
    partition: Option<&'a PartitionName>,
    leader_epoch: Option<i32>,
    current: Option<i64>,
    log_end: Option<i64>,
    member: Option<&'a Member>,
}

impl Line<'_> {
    /// Records that are committed by nobody yet; negative if the log was cut off below what is committed.
    fn lag(&self) -> Option<i64> {
        Some(self.log_end?.saturating_sub(self.current?))
    }
}

impl Shown {
    /// Of a partition that is assigned or has an offset, in their order; then of members that have no partition.
    fn lines<'a>(&'a self, ends: &LogEnds, names: &'a BTreeSet<PartitionName>) -> Vec<Line<'a>> {
        let members = &self.group.description.members;
        let mut owners: BTreeMap<PartitionName, Vec<&Member>> = BTreeMap::new();
        for member in members {
            for name in partitions_of(&member.assignment) {
                owners.entry(name).or_default().push(member);
            }
        }
        let mut lines = Vec::new();
        for name in names {
            let committed = self.offsets.get(name);
            let owners = owners.get(name).map_or(&[][..], Vec::as_slice);
            if committed.is_none() && owners.is_empty() {
                continue;
            }
            let line = |member| Line {
                partition: Some(name),
                leader_epoch: committed.and_then(|committed| committed.leader_epoch),
                current: committed.map(|committed| committed.offset),
                log_end: ends.get(name).copied(),
                member,
            };
            if owners.is_empty() {
                lines.push(line(None));
            }
            lines.extend(owners.iter().map(|owner| line(Some(*owner))));
        }
        let idle = members.iter().filter(|member| member.assignment.values().all(BTreeSet::is_empty));
        lines.extend(idle.map(|member| Line {
            partition: None,
            leader_epoch: None,
            current: None,
            log_end: None,
            member: Some(member),
        }));
        lines
    }

    /// All partitions that are assigned or have an offset.
    pub fn partitions(&self) -> BTreeSet<PartitionName> {
        let assigned = self.group.description.members.iter().flat_map(|member| partitions_of(&member.assignment));
        assigned.chain(self.offsets.keys().cloned()).collect()
    }
}

fn partitions_of(assignment: &Partitions) -> impl Iterator<Item = PartitionName> + '_ {
    assignment.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (topic.clone(), *partition)))
}

fn has_instances(groups: &[Shown]) -> bool {
    groups.iter().any(|shown| shown.group.description.members.iter().any(|member| member.instance_id.is_some()))
}

pub(super) fn offsets_text(groups: &[Shown], ends: &LogEnds, verbose: bool) -> String {
    let columns = [
        words("GROUP"),
        words("TOPIC"),
        numbers("PARTITION"),
        numbers("LEADER-EPOCH"),
        numbers("CURRENT-OFFSET"),
        numbers("LOG-END-OFFSET"),
        numbers("LAG"),
        words("CONSUMER-ID"),
        words("GROUP-INSTANCE-ID"),
        words("HOST"),
        words("CLIENT-ID"),
    ];
    let mut rows = Vec::new();
    for shown in groups {
        let names = shown.partitions();
        for line in shown.lines(ends, &names) {
            rows.push(vec![
                shown.name.clone(),
                known(line.partition.map(|(topic, _)| topic)),
                known(line.partition.map(|(_, partition)| partition)),
                known(line.leader_epoch),
                known(line.current),
                known(line.log_end),
                known(line.lag()),
                known(line.member.map(|member| &member.id)),
                known(line.member.and_then(|member| member.instance_id.as_ref())),
                known(line.member.map(|member| &member.host)),
                known(line.member.map(|member| &member.client_id)),
            ]);
        }
    }
    let has_instances = has_instances(groups);
    let wanted = |name: &str| match name {
        "LEADER-EPOCH" => verbose,
        "GROUP-INSTANCE-ID" => has_instances,
        _ => true,
    };
    Table::new(columns, rows).retain(wanted).text()
}

/// `t:0,1,2;u:0`
fn assignment_text(assignment: &Partitions) -> String {
    let topics = assignment.iter().filter(|(_, partitions)| !partitions.is_empty()).map(|(topic, partitions)| {
        let numbers: Vec<String> = partitions.iter().map(ToString::to_string).collect();
        format!("{topic}:{}", numbers.join(","))
    });
    topics.collect::<Vec<_>>().join(";")
}

fn count(assignment: &Partitions) -> usize {
    assignment.values().map(BTreeSet::len).sum()
}

pub(super) fn members_text(groups: &[Shown], verbose: bool) -> String {
    let columns = [
        words("GROUP"),
        words("CONSUMER-ID"),
        words("GROUP-INSTANCE-ID"),
        words("HOST"),
        words("CLIENT-ID"),
        numbers("#PARTITIONS"),
        numbers("CURRENT-EPOCH"),
        words("CURRENT-ASSIGNMENT"),
        numbers("TARGET-EPOCH"),
        words("TARGET-ASSIGNMENT"),
    ];
    let rows = groups.iter().flat_map(|shown| {
        let target_epoch = shown.group.description.epochs.map(|(_, target)| target);
        shown.group.description.members.iter().map(move |member| {
            vec![
                shown.name.clone(),
                known(Some(&member.id)),
                known(member.instance_id.as_ref()),
                known(Some(&member.host)),
                known(Some(&member.client_id)),
                count(&member.assignment).to_string(),
                known(member.epoch),
                known(Some(assignment_text(&member.assignment))),
                known(target_epoch),
                known(member.target.as_ref().map(assignment_text)),
            ]
        })
    });
    let has_instances = has_instances(groups);
    let wanted = |name: &str| match name {
        "CURRENT-EPOCH" | "CURRENT-ASSIGNMENT" | "TARGET-EPOCH" | "TARGET-ASSIGNMENT" => verbose,
        "GROUP-INSTANCE-ID" => has_instances,
        _ => true,
    };
    Table::new(columns, rows).retain(wanted).text()
}

pub(super) fn state_text(groups: &[Shown], verbose: bool) -> String {
    let columns = [
        words("GROUP"),
        words("COORDINATOR (ID)"),
        words("ASSIGNMENT-STRATEGY"),
        words("STATE"),
        numbers("GROUP-EPOCH"),
        numbers("TARGET-ASSIGNMENT-EPOCH"),
        numbers("#MEMBERS"),
    ];
    let rows = groups.iter().map(|shown| {
        let description = &shown.group.description;
        vec![
            shown.name.clone(),
            shown.group.coordinator.to_string(),
            known(Some(&description.assignor)),
            known(Some(&description.state)),
            known(description.epochs.map(|(group, _)| group)),
            known(description.epochs.map(|(_, target)| target)),
            description.members.len().to_string(),
        ]
    });
    let wanted = |name: &str| verbose || !["GROUP-EPOCH", "TARGET-ASSIGNMENT-EPOCH"].contains(&name);
    Table::new(columns, rows).retain(wanted).text()
}

/// What is worth saying of a group besides.
pub(super) fn note(shown: &Shown) -> Option<String> {
    let description = &shown.group.description;
    if description.members.is_empty() {
        return Some(format!("Consumer group '{}' has no active members.", shown.name));
    }
    let is_rebalancing = description.is_rebalancing();
    is_rebalancing.then(|| format!("Warning: Consumer group '{}' is rebalancing.", shown.name))
}

pub(super) fn to_json(groups: &[Shown], ends: &LogEnds) -> String {
    let groups: Vec<Value> = groups.iter().map(|shown| group_json(shown, ends)).collect();
    format!("{}\n", json!({ "groups": groups }))
}

pub(super) fn group_json(shown: &Shown, ends: &LogEnds) -> Value {
    let Group { coordinator, description } = &shown.group;
    let members = description.members.iter().map(|member| {
        json!({
            "member_id": member.id,
            "instance_id": member.instance_id,
            "rack": member.rack,
            "client_id": member.client_id,
            "host": member.host,
            "member_epoch": member.epoch,
            "assignment": member.assignment,
            "target_assignment": member.target,
            "subscribed_topics": member.subscribed,
            "subscribed_regex": member.subscribed_regex,
            "speaks_classic_protocol": member.upgraded,
        })
    });
    let names = shown.partitions();
    let offsets = shown.lines(ends, &names).into_iter().filter_map(|line| {
        let (topic, partition) = line.partition?;
        Some(json!({
            "topic": topic,
            "partition": partition,
            "leader_epoch": line.leader_epoch,
            "current_offset": line.current,
            "log_end_offset": line.log_end,
            "lag": line.lag(),
            "member_id": line.member.map(|member| &member.id),
        }))
    });
    json!({
        "group": shown.name,
        "type": description.group_type,
        "protocol": description.protocol_type,
        "state": description.state,
        "assignor": description.assignor,
        "coordinator": { "id": coordinator.id, "host": coordinator.host, "port": coordinator.port },
        "group_epoch": description.epochs.map(|(group, _)| group),
        "target_assignment_epoch": description.epochs.map(|(_, target)| target),
        "members": members.collect::<Vec<_>>(),
        "offsets": offsets.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::committed::Committed;
    use super::super::described::Description;
    use super::*;
    use crate::cli::kafka::Node;

    fn name(topic: &str, partition: i32) -> PartitionName {
        (topic.to_owned(), partition)
    }

    fn member(id: &str, assignment: &[(&str, &[i32])]) -> Member {
        let assignment = assignment
            .iter()
            .map(|(topic, partitions)| ((*topic).to_owned(), partitions.iter().copied().collect::<BTreeSet<i32>>()));
        Member {
            id: id.to_owned(),
            client_id: "c".to_owned(),
            host: "/h".to_owned(),
            assignment: assignment.collect(),
            ..Member::default()
        }
    }

    fn shown(members: Vec<Member>, offsets: &[(PartitionName, i64)]) -> Shown {
        let description = Description {
            group_type: "Classic",
            protocol_type: "consumer".to_owned(),
            state: if members.is_empty() { "Empty" } else { "Stable" }.to_owned(),
            assignor: "range".to_owned(),
            epochs: None,
            members,
        };
        let coordinator = Node { id: 2, host: "h2".to_owned(), port: 9092 };
        let committed =
            |(name, offset): &(PartitionName, i64)| (name.clone(), Committed { offset: *offset, leader_epoch: None });
        Shown {
            name: "g".to_owned(),
            group: Group { coordinator, description },
            offsets: offsets.iter().map(committed).collect(),
        }
    }

    #[test]
    fn every_partition_that_is_assigned_or_committed_has_a_line_and_so_have_idle_members() {
        let members = vec![member("m1", &[("t", &[0, 10])]), member("m2", &[])];
        let groups = [shown(members, &[(name("t", 0), 7), (name("t", 2), 9), (name("u", 0), 3)])];
        let ends = LogEnds::from([(name("t", 0), 10), (name("t", 2), 9), (name("t", 10), 4)]);
        assert_eq!(
            offsets_text(&groups, &ends, false),
            "GROUP  TOPIC  PARTITION  CURRENT-OFFSET  LOG-END-OFFSET  LAG  CONSUMER-ID  HOST  CLIENT-ID\n\
             g      t              0               7              10    3  m1           /h    c\n\
             g      t              2               9               9    0  -            -     -\n\
             g      t             10               -               4    -  m1           /h    c\n\
             g      u              0               3               -    -  -            -     -\n\
             g      -              -               -               -    -  m2           /h    c\n"
        );
        let json: Value = serde_json::from_str(&to_json(&groups, &ends)).unwrap();
        assert_eq!(json["groups"][0]["offsets"][0]["lag"], json!(3));
        assert_eq!(json["groups"][0]["offsets"].as_array().unwrap().len(), 4);
        assert_eq!(json["groups"][0]["members"][0]["assignment"], json!({ "t": [0, 10] }));
    }

    #[test]
    fn epochs_and_targets_are_shown_when_asked_for_and_instances_when_there_are_any() {
        let mut joined = member("m1", &[("t", &[0, 1]), ("u", &[3])]);
        joined.epoch = Some(4);
        joined.target = Some(Partitions::from([("t".to_owned(), BTreeSet::from([1]))]));
        joined.instance_id = Some("first".to_owned());
        let mut one = shown(vec![joined], &[]);
        one.group.description.epochs = Some((6, 5));
        let groups = [one];
        assert_eq!(
            members_text(&groups, true),
            "GROUP  CONSUMER-ID  GROUP-INSTANCE-ID  HOST  CLIENT-ID  #PARTITIONS  CURRENT-EPOCH  CURRENT-ASSIGNMENT  \
             TARGET-EPOCH  TARGET-ASSIGNMENT\n\
             g      m1           first              /h    c                    3              4  t:0,1;u:3                      \
             5  t:1\n"
        );
        assert_eq!(
            state_text(&groups, true),
            "GROUP  COORDINATOR (ID)  ASSIGNMENT-STRATEGY  STATE   GROUP-EPOCH  TARGET-ASSIGNMENT-EPOCH  #MEMBERS\n\
             g      h2:9092 (2)       range                Stable            6                        5         1\n"
        );
        assert_eq!(note(&groups[0]), None);
        assert_eq!(note(&shown(vec![], &[])).unwrap(), "Consumer group 'g' has no active members.");
    }
}
