//! A group as its coordinator describes it, whichever protocol its members speak.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{self as consumer, Assignment};
use kafka_protocol::messages::describe_groups_response as classic;
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, DescribeGroupsRequest, DescribeGroupsResponse, GroupId,
};

use crate::cli::kafka::{Answered, Client, ClientError, Node, PerGroup};
use crate::groups::assigned_partitions;

/// Partitions by topic.
pub(super) type Partitions = BTreeMap<String, BTreeSet<i32>>;

#[derive(Debug)]
pub(super) struct Group {
    pub coordinator: Node,
    pub description: Description,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// `Classic` or `Consumer`.
    pub group_type: &'static str,
    pub protocol_type: String,
    /// As Kafka has it: `Empty`, `Stable`, `PreparingRebalance`, ...
    pub state: String,
    pub assignor: String,
    /// Of the group, and of its target assignment; of the consumer protocol.
    pub epochs: Option<(i32, i32)>,
    pub members: Vec<Member>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    pub client_id: String,
    pub host: String,
    pub assignment: Partitions,
    /// Of the consumer protocol: its epoch, and what it is to have.
    pub epoch: Option<i32>,
    pub target: Option<Partitions>,
    pub subscribed: Vec<String>,
    pub subscribed_regex: Option<String>,
    /// Whether the member of a group of the consumer protocol speaks the classic one.
    pub upgraded: Option<bool>,
}

impl Description {
    /// Nobody is in it, and its offsets may be set.
    pub fn is_inactive(&self) -> bool {
        self.state.eq_ignore_ascii_case("empty") || self.is_dead()
    }

    /// So older brokers say that there is no such group.
    pub fn is_dead(&self) -> bool {
        self.state.eq_ignore_ascii_case("dead")
    }

    pub fn is_rebalancing(&self) -> bool {
        ["PreparingRebalance", "CompletingRebalance", "Assigning", "Reconciling"]
            .iter()
            .any(|state| self.state.eq_ignore_ascii_case(state))
    }
}

/// By group; a group that does not exist is refused with `GROUP_ID_NOT_FOUND`.
pub(super) async fn describe(client: &Client, groups: &[String]) -> BTreeMap<String, Result<Group, ClientError>> {
    let request = |groups: &[String]| {
        let ids = groups.iter().map(|group| GroupId(group.clone().into())).collect();
        ConsumerGroupDescribeRequest::default().with_group_ids(ids)
    };
    let answers = client.ask_coordinators(groups, request, of_consumer_groups).await;
    let mut described = BTreeMap::new();
    let mut others = Vec::new();
    for (group, answer) in answers {
        match answer {
            // It is none of the consumer protocol, or the broker is older than that.
            Err(ClientError::NotServed { .. }) => others.push(group),
            Err(error) if error.refusal() == Some(ResponseError::GroupIdNotFound) => others.push(group),
            Err(error) if error.refusal() == Some(ResponseError::UnsupportedVersion) => others.push(group),
            answer => drop(described.insert(group, answer.map(group_of))),
        }
    }
    if !others.is_empty() {
        let request = |groups: &[String]| {
            let ids = groups.iter().map(|group| GroupId(group.clone().into())).collect();
            DescribeGroupsRequest::default().with_groups(ids)
        };
        let answers = client.ask_coordinators(&others, request, of_classic_groups).await;
        described.extend(answers.into_iter().map(|(group, answer)| (group, answer.map(group_of))));
    }
    described
}

fn group_of(answered: Answered<Description>) -> Group {
    Group { coordinator: answered.coordinator, description: answered.answer }
}

fn of_consumer_groups(response: ConsumerGroupDescribeResponse) -> Vec<(String, PerGroup<Description>)> {
    let one = |group: consumer::DescribedGroup| {
        let description = match ResponseError::try_from_code(group.error_code) {
            Some(error) => Err((error, group.error_message.map(|message| message.to_string()))),
            None => Ok(Description {
                group_type: "Consumer",
                protocol_type: "consumer".to_owned(),
                state: group.group_state.to_string(),
                assignor: group.assignor_name.to_string(),
                epochs: Some((group.group_epoch, group.assignment_epoch)),
                members: group.members.into_iter().map(consumer_member).collect(),
            }),
        };
        (group.group_id.0.to_string(), description)
    };
    response.groups.into_iter().map(one).collect()
}

fn consumer_member(member: consumer::Member) -> Member {
    Member {
        id: member.member_id.to_string(),
        instance_id: member.instance_id.map(|id| id.to_string()),
        rack: member.rack_id.map(|rack| rack.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: partitions(&member.assignment),
        epoch: Some(member.member_epoch),
        target: Some(partitions(&member.target_assignment)),
        subscribed: member.subscribed_topic_names.iter().map(|name| name.0.to_string()).collect(),
        subscribed_regex: member
            .subscribed_topic_regex
            .map(|regex| regex.to_string())
            .filter(|regex| !regex.is_empty()),
        // -1: the broker does not say.
        upgraded: match member.member_type {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        },
    }
}

fn partitions(assignment: &Assignment) -> Partitions {
    let mut partitions = Partitions::new();
    for topic in &assignment.topic_partitions {
        partitions.entry(topic.topic_name.0.to_string()).or_default().extend(&topic.partitions);
    }
    partitions
}

fn of_classic_groups(response: DescribeGroupsResponse) -> Vec<(String, PerGroup<Description>)> {
    let one = |group: classic::DescribedGroup| {
        let is_consumers = group.protocol_type.is_empty() || &*group.protocol_type == "consumer";
        let description = match ResponseError::try_from_code(group.error_code) {
            Some(error) => Err((error, group.error_message.map(|message| message.to_string()))),
            None => Ok(Description {
                group_type: "Classic",
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                assignor: group.protocol_data.to_string(),
                epochs: None,
                members: group.members.into_iter().map(|member| classic_member(member, is_consumers)).collect(),
            }),
        };
        let description = description.and_then(|description| match description.is_dead() {
            true => Err((ResponseError::GroupIdNotFound, None)),
            false => Ok(description),
        });
        (group.group_id.0.to_string(), description)
    };
    response.groups.into_iter().map(one).collect()
}

/// Members of other protocol types (Kafka Connect's) have assignments of their own kind.
fn classic_member(member: classic::DescribedGroupMember, is_consumers: bool) -> Member {
    let assigned = is_consumers.then(|| assigned_partitions(&member.member_assignment)).flatten().unwrap_or_default();
    Member {
        id: member.member_id.to_string(),
        instance_id: member.group_instance_id.map(|id| id.to_string()),
        client_id: member.client_id.to_string(),
        host: member.client_host.to_string(),
        assignment: assigned.into_iter().map(|(topic, partitions)| (topic.to_string(), partitions)).collect(),
        ..Member::default()
    }
}
