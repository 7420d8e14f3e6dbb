//! The target assignment: what every member is to have in the group's epoch (Kafka's `TargetAssignmentBuilder`).

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::super::api::Environment;
use super::super::assignor::{AssignError, Assignment, Assignor, GroupSpec, MemberSpec};
use super::super::counts::{count, most};
use super::super::records::consumer_group::{
    ConsumerGroupTargetAssignmentMemberValue as Target, ConsumerGroupTargetAssignmentMetadataValue as TargetEpoch,
};
use super::change::Change;
use super::group::ConsumerGroup;
use super::member::ConsumerMember;

/// A new target assignment.
pub(in crate::groups) struct NewTarget {
    /// What is new in it, ending with its epoch.
    pub(in crate::groups) changes: Vec<Change>,
    /// The part of the member that was asked about.
    pub(in crate::groups) of_member: Assignment,
}

/// A member that takes another's place in the group, its own as it was before or that of a static one.
pub(in crate::groups) struct Update<'a> {
    pub(in crate::groups) before: &'a ConsumerMember,
    pub(in crate::groups) after: &'a ConsumerMember,
    /// The id of the static member that it replaces.
    pub(in crate::groups) replaced: Option<&'a StrBytes>,
}

impl ConsumerGroup {
    /// The assignor that most members ask for; of equal ones the first by name. Members that do not ask for one leave
    /// it to the others.
    pub(in crate::groups) fn preferred_assignor(&self, update: &Update<'_>) -> Option<StrBytes> {
        let mut asked = self.assignors().clone();
        update.after.metadata.server_assignor.iter().for_each(|name| count(&mut asked, name, true));
        update.before.metadata.server_assignor.iter().for_each(|name| count(&mut asked, name, false));
        most(&asked).cloned()
    }

    /// Computes what everybody is to have in `epoch`.
    pub(in crate::groups) fn compute_target(
        &self,
        now_ms: i64,
        epoch: i32,
        update: &Update<'_>,
        assignor: Assignor,
        environment: &dyn Environment,
    ) -> Result<NewTarget, AssignError> {
        let mut subscriptions = Subscriptions { environment, known: BTreeMap::new(), topics: BTreeMap::new() };
        let mut members: BTreeMap<StrBytes, MemberSpec> = BTreeMap::new();
        let others = self.members().values().filter(|member| {
            member.id != update.after.id && update.replaced.is_none_or(|replaced| member.id != *replaced)
        });
        for member in others.chain([update.after]) {
            // Who replaces a static member has that one's target.
            let from = if member.id == update.after.id { update.replaced.unwrap_or(&member.id) } else { &member.id };
            let spec = MemberSpec {
                subscribed: subscriptions.of(self, member),
                assignment: self.target(from).map(|target| target.partitions.clone()).unwrap_or_default(),
                instance_id: member.instance_id().cloned(),
            };
            members.insert(member.id.clone(), spec);
        }
        let spec = GroupSpec { members, topics: subscriptions.topics };
        let mut assigned = assignor.assign(&spec)?;
        let mut changes = Vec::new();
        for id in spec.members.keys() {
            let partitions = assigned.get(id).cloned().unwrap_or_default();
            if self.target(id).is_none_or(|target| target.partitions != partitions) {
                changes.push(Change::Target(id.clone(), Some(Rc::new(Target { partitions }))));
            }
        }
        changes
            .push(Change::TargetEpoch(Some(TargetEpoch { assignment_epoch: epoch, assignment_timestamp_ms: now_ms })));
        Ok(NewTarget { changes, of_member: assigned.remove(&update.after.id).unwrap_or_default() })
    }
}

/// Names of topics, and a regular expression.
type Subscribed = (BTreeSet<StrBytes>, Option<StrBytes>);

/// What members subscribe to, as topic ids; members that subscribe to the same share one set.
struct Subscriptions<'a> {
    environment: &'a dyn Environment,
    known: BTreeMap<Subscribed, Rc<BTreeSet<TopicId>>>,
    topics: BTreeMap<TopicId, i32>,
}

impl Subscriptions<'_> {
    fn of(&mut self, group: &ConsumerGroup, member: &ConsumerMember) -> Rc<BTreeSet<TopicId>> {
        let key = (member.metadata.subscribed_topic_names.clone(), member.regex().cloned());
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let by_regex = key.1.as_ref().and_then(|regex| group.recorded().regexes.get(regex));
        let names = key.0.iter().chain(by_regex.iter().flat_map(|resolved| &resolved.topics));
        let found = super::subscription::topic_ids(names, self.environment);
        let ids: Rc<BTreeSet<TopicId>> = Rc::new(found.keys().copied().collect());
        self.topics.extend(found);
        self.known.insert(key, ids.clone());
        ids
    }
}
