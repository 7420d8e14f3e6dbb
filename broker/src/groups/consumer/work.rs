//! One operation on one group: what it decides is gathered here, and made and stored in the end, or dropped.

use std::collections::BTreeSet;
use std::rc::Rc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::protocol::StrBytes;

use super::super::api::{Environment, GroupReply, RequestToken};
use super::super::assignor::{Assignment, Assignor};
use super::super::config::{GroupConfig, GroupSettings};
use super::super::coordinator::GroupCoordinator;
use super::super::error_reply::failed;
use super::super::group::Group;
use super::super::member::owned as owned_string;
use super::super::records::consumer_group::{
    ConsumerGroupMemberMetadataValue as MemberMetadata, ConsumerGroupMetadataValue as GroupEpoch,
    ConsumerGroupTargetAssignmentMemberValue as Target,
};
use super::super::timers::TimerKey;
use super::super::topic_regex::TopicRegex;
use super::change::Change;
use super::group::{ConsumerGroup, Recorded};
use super::member::{ConsumerMember, JOINING_EPOCH, MemberState, STATIC_LEAVING_EPOCH};
use super::reconcile::{Reconciliation, UnknownState};
use super::stores::{Durable, records_of};
use super::subscription::metadata_hash;
use super::target::Update;

/// A regular expression is looked at again no sooner than this after the last time.
const REGEX_REFRESH_INTERVAL_MIN_MS: i64 = 10_000;

/// Why a request is refused, as the client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) struct Refusal {
    pub(in crate::groups) error: ResponseError,
    pub(in crate::groups) message: String,
}

pub(in crate::groups) fn refuse<T>(error: ResponseError, message: impl Into<String>) -> Result<T, Refusal> {
    Err(Refusal { error, message: message.into() })
}

/// Where the group of an operation comes from, and goes back to if nothing comes of it.
#[derive(Debug)]
enum Origin {
    Nothing,
    /// A classic group that becomes a consumer group.
    Classic(Box<Group>),
    Consumer,
}

/// A deadline that an operation sets or lifts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::groups) enum Deadline {
    Session {
        member: StrBytes,
    },
    /// The member is to give partitions back, before it leaves `epoch`.
    Revocation {
        member: StrBytes,
        epoch: i32,
        timeout_ms: i32,
    },
    NoRevocation {
        member: StrBytes,
    },
    ResolveRegexes,
}

/// What an operation has to know besides the group.
pub(in crate::groups) struct Surroundings<'a> {
    pub(in crate::groups) now_ms: i64,
    pub(in crate::groups) config: &'a GroupConfig,
    /// Of the group.
    pub(in crate::groups) settings: GroupSettings,
    pub(in crate::groups) environment: &'a dyn Environment,
    /// The version of the topics at which the last new one came.
    pub(in crate::groups) newest_topic_version: i64,
    /// The group's regular expressions are about to be resolved.
    pub(in crate::groups) resolves_regexes: bool,
}

/// Who sends a heartbeat, or joins by the classic protocol.
pub(in crate::groups) struct Sender<'a> {
    pub(in crate::groups) member_id: &'a StrBytes,
    pub(in crate::groups) instance_id: Option<&'a StrBytes>,
    /// Of a member that speaks the consumer protocol: its epoch, and what it says it owns.
    pub(in crate::groups) claim: Option<(i32, Option<&'a [TopicPartitions]>)>,
    /// It may be a member that the group does not know yet.
    pub(in crate::groups) joins: bool,
}

/// The change of a member's regular expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::groups) enum RegexChange {
    None,
    /// What the new one stands for is not known yet.
    Unresolved,
    Resolved,
}

pub(in crate::groups) struct Work {
    pub(in crate::groups) group: ConsumerGroup,
    origin: Origin,
    /// Decided; not yet made unless the group is new.
    pub(in crate::groups) changes: Vec<Change>,
    /// How many of `changes` the group has already.
    made: usize,
    pub(in crate::groups) deadlines: Vec<Deadline>,
    /// The metadata hash was computed from today's topics.
    refreshed: bool,
}

impl Work {
    pub(in crate::groups) fn new(id: StrBytes) -> Work {
        Work::of(ConsumerGroup::new(id), Origin::Nothing)
    }

    pub(in crate::groups) fn on(group: ConsumerGroup) -> Work {
        Work::of(group, Origin::Consumer)
    }

    /// Makes a consumer group of a classic one; `changes` are its first.
    pub(in crate::groups) fn conversion(classic: Group, changes: Vec<Change>) -> Work {
        let mut group = ConsumerGroup::new(classic.id.clone());
        changes.iter().for_each(|change| {
            group.apply(change);
        });
        let made = changes.len();
        Work { changes, made, ..Work::of(group, Origin::Classic(Box::new(classic))) }
    }

    fn of(group: ConsumerGroup, origin: Origin) -> Work {
        Work { group, origin, changes: Vec::new(), made: 0, deadlines: Vec::new(), refreshed: false }
    }

    /// Finds the member that a request is from, or makes one. A static one may take the place of the member that had its
    /// instance id before, whose id is returned.
    pub(in crate::groups) fn member(
        &mut self,
        sender: &Sender<'_>,
    ) -> Result<(ConsumerMember, Option<StrBytes>), Refusal> {
        let member_id = sender.member_id;
        if !sender.joins {
            let member = identify(&self.group, member_id, sender.instance_id)?.clone();
            check_claim(&member, sender)?;
            return Ok((member, None));
        }
        let holder = sender.instance_id.and_then(|id| Some((id, self.group.static_member(id)?.clone())));
        let Some((instance_id, member)) = holder else {
            let known = self.group.member(member_id).cloned();
            return Ok((known.unwrap_or_else(|| ConsumerMember::new(owned_string(member_id))), None));
        };
        if sender.claim.is_some() && member.classic().is_none() && member.epoch() != STATIC_LEAVING_EPOCH {
            return refuse(
                ResponseError::UnreleasedInstanceId,
                format!(
                    "Static member {} with instance id {} cannot join the group because the instance id is owned by {} member.",
                    member_id.as_str(),
                    instance_id.as_str(),
                    member.id.as_str()
                ),
            );
        }
        Ok(self.replace(member, owned_string(member_id)))
    }

    /// Gives a static member a new id, and all that it had.
    fn replace(&mut self, old: ConsumerMember, id: StrBytes) -> (ConsumerMember, Option<StrBytes>) {
        let mut new = ConsumerMember { id, ..old.clone() };
        let current = Rc::make_mut(&mut new.current);
        current.member_epoch = JOINING_EPOCH;
        current.previous_member_epoch = JOINING_EPOCH;
        let target = self.group.target(&old.id).map(|target| target.partitions.clone()).unwrap_or_default();
        self.changes.extend(tombstones(&old.id));
        self.changes.push(Change::Member(new.id.clone(), Some(new.metadata.clone())));
        self.changes.push(Change::Target(new.id.clone(), Some(Rc::new(Target { partitions: target }))));
        self.changes.push(Change::Current(new.id.clone(), Some(new.current.clone())));
        (new, Some(old.id))
    }

    /// Takes over what a member says of itself. Returns it, and whether it subscribes to other topics by name.
    pub(in crate::groups) fn update(
        &mut self,
        member: &ConsumerMember,
        metadata: MemberMetadata,
    ) -> (ConsumerMember, bool) {
        let names_changed = metadata.subscribed_topic_names != member.metadata.subscribed_topic_names;
        if metadata == *member.metadata {
            let is_new = self.group.member(&member.id).is_none() && !self.creates(&member.id);
            if is_new {
                self.changes.push(Change::Member(member.id.clone(), Some(member.metadata.clone())));
            }
            return (member.clone(), names_changed);
        }
        let metadata = Rc::new(metadata);
        self.changes.push(Change::Member(member.id.clone(), Some(metadata.clone())));
        (ConsumerMember { metadata, ..member.clone() }, names_changed)
    }

    fn creates(&self, id: &StrBytes) -> bool {
        self.changes.iter().any(|change| matches!(change, Change::Member(of, Some(_)) if of == id))
    }

    /// Takes note of a regular expression that comes or goes with a member, and has the group's resolved when it is time.
    pub(in crate::groups) fn update_regexes(
        &mut self,
        around: &Surroundings<'_>,
        before: &ConsumerMember,
        after: &ConsumerMember,
    ) -> Result<RegexChange, Refusal> {
        let (old, new) = (before.regex(), after.regex());
        let mut change = RegexChange::None;
        let mut is_new = false;
        let mut subscribed = self.group.regexes().len();
        if old != new {
            change = RegexChange::Unresolved;
            if let Some(old) = old
                && self.group.regex_members(old) == 1
            {
                self.changes.push(Change::Regex(old.clone(), None));
                subscribed -= 1;
            }
            match new {
                Some(new) if self.group.regex_members(new) == 0 => {
                    self.check_regex(around, new)?;
                    is_new = true;
                    subscribed += 1;
                }
                Some(new) if !self.group.recorded().regexes.contains_key(new) => {}
                _ => change = RegexChange::Resolved,
            }
        }
        let last = self.group.last_resolved();
        let is_soon =
            last.is_some_and(|(at_ms, _)| around.now_ms <= at_ms.saturating_add(REGEX_REFRESH_INTERVAL_MIN_MS));
        if subscribed == 0 || around.resolves_regexes || is_soon && !is_new {
            return Ok(change);
        }
        let is_due = match last {
            None => true,
            Some((at_ms, version)) => {
                version < around.newest_topic_version
                    || around.now_ms > at_ms.saturating_add(around.config.consumer_regex_refresh_interval_ms)
            }
        };
        if is_new || is_due || subscribed != self.group.recorded().regexes.len() {
            self.deadlines.push(Deadline::ResolveRegexes);
        }
        Ok(change)
    }

    fn check_regex(&self, around: &Surroundings<'_>, regex: &StrBytes) -> Result<(), Refusal> {
        if self.group.regexes().len() >= around.config.regexes_max {
            let message = format!("The group has {} regular expressions already.", self.group.regexes().len());
            return refuse(ResponseError::InvalidRegularExpression, message);
        }
        match TopicRegex::new(regex) {
            Ok(_) => Ok(()),
            Err(error) => refuse(
                ResponseError::InvalidRegularExpression,
                format!("SubscribedTopicRegex `{}` is not a valid regular expression: {error}.", regex.as_str()),
            ),
        }
    }

    /// Raises the group's epoch if `raise` says so, or if topics have changed that the group subscribes to. Returns the
    /// epoch.
    pub(in crate::groups) fn update_epoch(
        &mut self,
        raise: bool,
        update: &Update<'_>,
        environment: &dyn Environment,
    ) -> i32 {
        let recorded = self.group.recorded();
        if !raise && !self.group.refresh_wanted {
            return recorded.epoch;
        }
        let topics = self.group.topics_with(update.before, update.after);
        let hash = metadata_hash(topics.keys(), environment);
        self.refreshed = true;
        let mut epoch = recorded.epoch;
        let raise = raise || hash != recorded.metadata_hash;
        let stale_record = recorded.has_partition_metadata;
        if raise {
            epoch = epoch.saturating_add(1);
            self.changes.push(Change::Group(Some(GroupEpoch { epoch, metadata_hash: hash })));
        }
        if stale_record {
            self.changes.push(Change::PartitionMetadata(false));
        }
        epoch
    }

    /// Computes the target assignment anew if the group's epoch is beyond its, though not more often than
    /// `group.consumer.assignment.interval.ms`. Returns the target's epoch, and the member's part.
    pub(in crate::groups) fn update_target(
        &mut self,
        around: &Surroundings<'_>,
        epoch: i32,
        update: &Update<'_>,
    ) -> Result<(i32, Assignment), Refusal> {
        let recorded = self.group.recorded();
        if recorded.target_epoch >= epoch || is_too_soon(recorded, around) {
            let from = update.replaced.unwrap_or(&update.after.id);
            let target = self.group.target(from).map(|target| target.partitions.clone()).unwrap_or_default();
            return Ok((recorded.target_epoch, target));
        }
        let preferred = self.group.preferred_assignor(update);
        let offered = &around.config.consumer_assignors;
        let asked = preferred.and_then(|name| Assignor::from_name(&name)).filter(|assignor| offered.contains(assignor));
        let assignor = asked.or(offered.first().copied()).unwrap_or(Assignor::Uniform);
        match self.group.compute_target(around.now_ms, epoch, update, assignor, around.environment) {
            Ok(target) => {
                self.changes.extend(target.changes);
                Ok((epoch, target.of_member))
            }
            Err(error) => refuse(
                ResponseError::UnknownServerError,
                format!("Failed to compute a new target assignment for epoch {epoch}: {error}"),
            ),
        }
    }

    /// Brings the member closer to its target. `owned` is what it says it owns.
    pub(in crate::groups) fn reconcile(
        &mut self,
        member: ConsumerMember,
        (target_epoch, target): &(i32, Assignment),
        subscription_changed: bool,
        owned: Option<&[TopicPartitions]>,
        environment: &dyn Environment,
    ) -> Result<ConsumerMember, Refusal> {
        if !subscription_changed && member.is_reconciled_to(*target_epoch) {
            return Ok(member);
        }
        let recorded = self.group.recorded();
        let is_subscribed =
            |topic| environment.topic_by_id(topic).is_some_and(|topic| recorded.is_subscribed(&member, &topic.name));
        let next = Reconciliation {
            member: &member,
            target_epoch: *target_epoch,
            target,
            subscription_changed,
            is_subscribed: &is_subscribed,
            is_owned: &|topic, partition| self.group.is_owned(topic, partition),
            owned,
        }
        .next();
        let next = next.or_else(|UnknownState| {
            refuse(
                ResponseError::FencedMemberEpoch,
                "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.",
            )
        })?;
        if next == *member.current {
            return Ok(member);
        }
        let member = ConsumerMember { current: Rc::new(next), ..member };
        self.changes.push(Change::Current(member.id.clone(), Some(member.current.clone())));
        // Classic members have deadlines of their own, for joining and syncing.
        if member.classic().is_none() {
            self.deadlines.push(if member.state() == MemberState::UnrevokedPartitions {
                Deadline::Revocation {
                    member: member.id.clone(),
                    epoch: member.epoch(),
                    timeout_ms: member.metadata.rebalance_timeout_ms,
                }
            } else {
                Deadline::NoRevocation { member: member.id.clone() }
            });
        }
        Ok(member)
    }

    /// Takes members out of the group and raises its epoch. Others get what they had when their next heartbeat computes
    /// a target.
    pub(in crate::groups) fn remove(&mut self, members: &[ConsumerMember], environment: &dyn Environment) {
        members.iter().for_each(|member| self.changes.extend(tombstones(&member.id)));
        let (topics, regexes) = self.group.topics_without(members);
        self.changes.extend(regexes.into_iter().map(|regex| Change::Regex(regex, None)));
        let epoch = self.group.recorded().epoch.saturating_add(1);
        let metadata_hash = metadata_hash(topics.keys(), environment);
        self.changes.push(Change::Group(Some(GroupEpoch { epoch, metadata_hash })));
    }

    /// The names of the topics that a member subscribes to, as a record has them.
    pub(in crate::groups) fn owned_names<'a>(names: impl IntoIterator<Item = &'a StrBytes>) -> BTreeSet<StrBytes> {
        names.into_iter().map(owned_string).collect()
    }
}

/// Whether the last target assignment is too new for another. One from the future (another broker's clock) is not.
fn is_too_soon(recorded: &Recorded, around: &Surroundings<'_>) -> bool {
    let since_ms = around.now_ms.saturating_sub(recorded.target_at_ms);
    let interval_ms = i64::from(around.settings.consumer_assignment_interval_ms);
    recorded.target_at_ms != 0 && (0..interval_ms).contains(&since_ms)
}

/// What deletes a member's records, in the order in which Kafka's loader wants them.
pub(in crate::groups) fn tombstones(id: &StrBytes) -> [Change; 3] {
    [Change::Current(id.clone(), None), Change::Target(id.clone(), None), Change::Member(id.clone(), None)]
}

fn not_a_member(member_id: &StrBytes, group: &StrBytes) -> Refusal {
    let message = format!("Member {} is not a member of group {}.", member_id.as_str(), group.as_str());
    Refusal { error: ResponseError::UnknownMemberId, message }
}

pub(in crate::groups) fn unknown_instance(instance_id: &StrBytes) -> Refusal {
    Refusal {
        error: ResponseError::UnknownMemberId,
        message: format!("Instance id {} is unknown.", instance_id.as_str()),
    }
}

/// The member that a request is from, which says its id and, if it is a static one, its instance id too.
pub(in crate::groups) fn identify<'a>(
    group: &'a ConsumerGroup,
    member_id: &StrBytes,
    instance_id: Option<&StrBytes>,
) -> Result<&'a ConsumerMember, Refusal> {
    let Some(instance_id) = instance_id else {
        return group.member(member_id).ok_or_else(|| not_a_member(member_id, &group.id));
    };
    let holder = group.static_member(instance_id).ok_or_else(|| unknown_instance(instance_id))?;
    if holder.id == *member_id {
        return Ok(holder);
    }
    refuse(
        ResponseError::FencedInstanceId,
        format!(
            "Static member {} with instance id {} was fenced by member {}.",
            member_id.as_str(),
            instance_id.as_str(),
            holder.id.as_str()
        ),
    )
}

/// Whether the epoch that a member comes with is its own. The one before is too, if the member owns nothing that it should
/// not: the answer with the new one may have got lost.
fn check_claim(member: &ConsumerMember, sender: &Sender<'_>) -> Result<(), Refusal> {
    let Some((epoch, owned)) = sender.claim else { return Ok(()) };
    let known = member.epoch();
    let greater = match epoch.cmp(&known) {
        _ if epoch == JOINING_EPOCH => return Ok(()),
        std::cmp::Ordering::Equal => return Ok(()),
        std::cmp::Ordering::Less if epoch == member.current.previous_member_epoch && has_no_more(member, owned) => {
            return Ok(());
        }
        std::cmp::Ordering::Less => "smaller",
        std::cmp::Ordering::Greater => "greater",
    };
    refuse(
        ResponseError::FencedMemberEpoch,
        format!(
            "The consumer group member has a {greater} member epoch ({epoch}) than the one known by the group coordinator \
             ({known}). The member must abandon all its partitions and rejoin."
        ),
    )
}

fn has_no_more(member: &ConsumerMember, owned: Option<&[TopicPartitions]>) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|topic| {
            let assigned = member.current.assigned.get(&protocol::TopicId(topic.topic_id));
            assigned.is_some_and(|assigned| topic.partitions.iter().all(|partition| assigned.contains_key(partition)))
        })
    })
}

impl GroupCoordinator {
    pub(in crate::groups) fn surroundings<'a>(
        &'a self,
        now_ms: i64,
        group: &StrBytes,
        environment: &'a dyn Environment,
    ) -> Surroundings<'a> {
        Surroundings {
            now_ms,
            config: &self.shell.config,
            settings: self.shell.settings(group),
            environment,
            newest_topic_version: self.newest_topic_version,
            resolves_regexes: self.shell.timers.is_scheduled(&TimerKey::Regexes { group: group.clone() }),
        }
    }

    /// Puts the group of an operation that came to nothing back where it was.
    pub(in crate::groups) fn abandon(&mut self, work: Work) {
        match work.origin {
            Origin::Nothing => {}
            Origin::Classic(classic) => {
                self.groups.insert(classic.id.clone(), *classic);
            }
            Origin::Consumer => {
                self.consumers.insert(work.group.id.clone(), work.group);
            }
        }
    }

    /// Makes and stores what was decided, and answers when that is durable.
    pub(in crate::groups) fn finish(&mut self, now_ms: i64, mut work: Work, reply: Option<(RequestToken, GroupReply)>) {
        let id = work.group.id.clone();
        if !work.changes.is_empty() {
            let Ok(records) = records_of(&id, &work.changes) else {
                // Not reached: what a request holds fits a record, strings and all.
                self.abandon(work);
                if let Some((token, reply)) = reply {
                    self.shell.reply(token, failed(reply, ResponseError::UnknownServerError));
                }
                return;
            };
            let before = self.wants_before(&id).then(|| match &work.origin {
                Origin::Nothing => None,
                Origin::Classic(classic) => Some(Durable::Classic(classic.clone())),
                Origin::Consumer => Some(Durable::Consumer(work.group.recorded().clone())),
            });
            work.changes.iter().skip(work.made).for_each(|change| {
                work.group.apply(change);
            });
            self.store_changes(&id, before.flatten(), records, std::mem::take(&mut work.changes));
        }
        if work.refreshed {
            work.group.refresh_wanted = false;
        }
        if let Origin::Classic(classic) = &work.origin {
            self.shell.cancel_all(classic);
        }
        for deadline in work.deadlines {
            self.set_deadline(now_ms, &mut work.group, deadline);
        }
        self.consumers.insert(id.clone(), work.group);
        if let Some((token, reply)) = reply {
            self.reply_when_durable(&id, token, reply);
        }
    }

    fn set_deadline(&mut self, now_ms: i64, group: &mut ConsumerGroup, deadline: Deadline) {
        let after = |timeout_ms: i32| now_ms.saturating_add(timeout_ms.into());
        match deadline {
            Deadline::Session { member } => {
                if let Some(member) = group.member(&member) {
                    self.shell.renew_session(now_ms, &group.id, member);
                }
            }
            Deadline::Revocation { member, epoch, timeout_ms } => {
                self.shell.schedule_revocation(&group.id, &member, after(timeout_ms));
                group.revocations.insert(member, epoch);
            }
            Deadline::NoRevocation { member } => {
                self.shell.cancel_revocation(&group.id, &member);
                group.revocations.remove(&member);
            }
            Deadline::ResolveRegexes => self.shell.schedule_regexes(&group.id, now_ms),
        }
    }
}
