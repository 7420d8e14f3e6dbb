//! ConsumerGroupDescribe, and what ListGroups says of consumer groups: always of what is durable.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_describe_response::{Assignment, DescribedGroup, Member, TopicPartitions};
use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::super::api::{Environment, GroupReply, RequestToken};
use super::super::assignor::Assignment as Partitions;
use super::super::coordinator::GroupCoordinator;
use super::super::counts::{count, most};
use super::super::describe::operations;
use super::super::group::CONSUMER_PROTOCOL_TYPE;
use super::group::{ConsumerGroup, Recorded};
use super::member::ConsumerMember;
use super::stores::Durable;

/// What ListGroups calls a group of this protocol.
pub(in crate::groups) const CONSUMER_GROUP_TYPE: &str = "consumer";
/// Types of members, from version 1 on.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

impl GroupCoordinator {
    /// The consumer group as of its last durable store. `None` if that knows none.
    pub(in crate::groups) fn durable_consumer_group(&self, id: &StrBytes) -> Option<&Recorded> {
        match self.flights.get(id) {
            Some(flight) => match flight.durable() {
                Some(Durable::Consumer(recorded)) => Some(recorded),
                _ => None,
            },
            None => self.consumers.get(id).map(ConsumerGroup::recorded),
        }
    }

    pub(in crate::groups) fn describe_consumer_groups(
        &mut self,
        token: RequestToken,
        request: &ConsumerGroupDescribeRequest,
        environment: &dyn Environment,
    ) {
        let groups = request.group_ids.iter().map(|id| match self.durable_consumer_group(id) {
            Some(group) => {
                let default = self.shell.config.consumer_assignors.first().map_or("", |assignor| assignor.name());
                described(id, group, default, environment)
                    .with_authorized_operations(operations(request.include_authorized_operations))
            }
            None => DescribedGroup::default()
                .with_group_id(id.clone())
                .with_error_code(ResponseError::GroupIdNotFound.code())
                .with_error_message(Some(StrBytes::from_string(self.no_consumer_group(id)))),
        });
        let response = ConsumerGroupDescribeResponse::default().with_groups(groups.collect());
        self.shell.reply(token, GroupReply::ConsumerGroupDescribe(response));
    }

    /// What is said of a group where there is no consumer group of this id.
    pub(in crate::groups) fn no_consumer_group(&self, id: &StrBytes) -> String {
        let why = if self.groups.contains_key(id) { "is not a consumer group" } else { "not found" };
        format!("Group {} {why}.", id.as_str())
    }

    /// The consumer groups in one of these states, or all.
    pub(in crate::groups) fn list_consumer_groups(&self, states: &BTreeSet<String>) -> Vec<ListedGroup> {
        let under_way = self.flights.keys().filter(|id| !self.consumers.contains_key(*id));
        let ids = self.consumers.keys().chain(under_way);
        ids.filter_map(|id| Some((id, self.durable_consumer_group(id)?.state())))
            .filter(|(_, state)| states.is_empty() || states.contains(&state.name().to_lowercase()))
            .map(|(id, state)| {
                ListedGroup::default()
                    .with_group_id(GroupId(id.clone()))
                    .with_protocol_type(StrBytes::from_static_str(CONSUMER_PROTOCOL_TYPE))
                    .with_group_state(StrBytes::from_static_str(state.name()))
                    .with_group_type(StrBytes::from_static_str(CONSUMER_GROUP_TYPE))
            })
            .collect()
    }
}

fn described(id: &GroupId, group: &Recorded, default_assignor: &str, environment: &dyn Environment) -> DescribedGroup {
    let mut asked = BTreeMap::new();
    let assignors = group.members.values().filter_map(|member| member.metadata.server_assignor.as_ref());
    assignors.for_each(|name| count(&mut asked, name, true));
    let preferred = most(&asked).cloned();
    let members = group.members.values().map(|member| described_member(group, member, environment));
    DescribedGroup::default()
        .with_group_id(id.clone())
        .with_group_state(StrBytes::from_static_str(group.state().name()))
        .with_group_epoch(group.epoch)
        .with_assignment_epoch(group.target_epoch)
        .with_assignor_name(preferred.unwrap_or_else(|| StrBytes::from_string(default_assignor.to_owned())))
        .with_members(members.collect())
}

fn described_member(group: &Recorded, member: &ConsumerMember, environment: &dyn Environment) -> Member {
    let assigned = ConsumerGroup::without_epochs(&member.current.assigned);
    let target = group.targets.get(&member.id).map(|target| target.partitions.clone()).unwrap_or_default();
    Member::default()
        .with_member_id(member.id.clone())
        .with_instance_id(member.metadata.instance_id.clone())
        .with_rack_id(member.metadata.rack_id.clone())
        .with_member_epoch(member.epoch())
        .with_client_id(member.metadata.client_id.clone())
        .with_client_host(member.metadata.client_host.clone())
        .with_subscribed_topic_names(member.subscribed_names())
        .with_subscribed_topic_regex(Some(member.regex().cloned().unwrap_or_default()))
        .with_assignment(assignment(&assigned, environment))
        .with_target_assignment(assignment(&target, environment))
        .with_member_type(if member.classic().is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER })
}

/// Topics that are gone have no name to be shown by.
fn assignment(partitions: &Partitions, environment: &dyn Environment) -> Assignment {
    let topics = partitions.iter().filter_map(|(id, own)| {
        let topic = environment.topic_by_id(*id)?;
        Some(
            TopicPartitions::default()
                .with_topic_id(id.0)
                .with_topic_name(TopicName(topic.name))
                .with_partitions(own.iter().copied().collect()),
        )
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
