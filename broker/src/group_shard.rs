//! The shell around the group coordinators of one shard.
//!
//! A shard runs the coordinator of every `__consumer_offsets` partition that it owns and that this broker leads. It begins
//! with the leadership, by loading what the log has, and ends with it. The coordinators decide and are pure
//! ([`crate::groups`]); here their effects are carried out: answers sent, records appended to the partition and reported
//! back once they are committed, deadlines kept.

mod coordinator;
mod load;

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ListGroupsResponse;
use metadata::config::{BrokerConfig, ConfigOverrides};
use metadata::image::MetadataImage;
use metadata::record::ConfigResource;
use protocol::{BrokerId, PartitionId, TopicId};

use crate::group_lag::CommittedOffsets;
use crate::groups::routing::partition_for_group;
use crate::groups::{
    Assignor, GroupConfig, GroupReply, GroupRequest, GroupSettings, GroupSizes, MigrationPolicy, RequestContext,
};
use crate::handlers::topic_access::OFFSETS_TOPIC;
use crate::partition::{Partition, Term};
use crate::shard::Shard;
use crate::shard::assignment::TopicChanges;
use crate::shard::event::LocalEvent;
use coordinator::{Coordinator, Phase};

/// A request for the coordinator of one `__consumer_offsets` partition.
pub struct GroupForward {
    pub partition: PartitionId,
    pub request: GroupRequest,
    pub context: RequestContext,
    pub answer: oneshot::Sender<GroupReply>,
}

/// The coordinators of a shard.
pub struct GroupShard {
    config: GroupConfig,
    /// `offsets.commit.timeout.ms`
    store_timeout_ms: i64,
    coordinators: RefCell<HashMap<PartitionId, Rc<Coordinator>>>,
    /// A coordinator has loaded, or failed to.
    loaded: LocalEvent,
}

impl GroupShard {
    pub fn new(config: &BrokerConfig) -> GroupShard {
        let store_timeout_ms = i64::from(config.offsets_commit_timeout_ms);
        let config = GroupConfig {
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            min_session_timeout_ms: config.group_min_session_timeout_ms,
            max_session_timeout_ms: config.group_max_session_timeout_ms,
            max_size: usize::try_from(config.group_max_size).unwrap_or(usize::MAX),
            offset_metadata_max_units: usize::try_from(config.offset_metadata_max_bytes).unwrap_or(0),
            offsets_retention_ms: i64::from(config.offsets_retention_minutes) * 60_000,
            offsets_retention_check_interval_ms: config.offsets_retention_check_interval_ms,
            consumer_session_timeout_ms: config.group_consumer_session_timeout_ms,
            consumer_heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
            consumer_max_size: usize::try_from(config.group_consumer_max_size).unwrap_or(usize::MAX),
            consumer_assignors: config
                .group_consumer_assignors
                .iter()
                .filter_map(|name| Assignor::from_name(name))
                .collect(),
            consumer_migration_policy: migration_policy(&config.group_consumer_migration_policy),
            consumer_assignment_interval_ms: config.group_consumer_assignment_interval_ms,
            consumer_regex_refresh_interval_ms: config.group_consumer_regex_refresh_interval_ms.into(),
            ..GroupConfig::default()
        };
        GroupShard { config, store_timeout_ms, coordinators: RefCell::default(), loaded: LocalEvent::default() }
    }

    /// Starts the coordinator of a `__consumer_offsets` partition that this broker leads now, and ends that of one which it
    /// does not lead any more.
    pub fn follow_leadership(&self, shard: &Rc<Shard>, partition: &Rc<Partition>) {
        let term = partition.term();
        let running = self.coordinators.borrow().get(&partition.key.partition).cloned();
        if let Some(running) = running {
            let is_of_this_log = Rc::ptr_eq(running.partition(), partition);
            if is_of_this_log && term == Some(running.term()) || !is_of_this_log && term.is_none() {
                return;
            }
            self.coordinators.borrow_mut().remove(&partition.key.partition);
            running.end();
        }
        if let Some(term) = term
            && !shard.is_stopping()
        {
            self.start(shard, partition.clone(), term);
        }
    }

    fn start(&self, shard: &Rc<Shard>, partition: Rc<Partition>, term: Term) {
        let coordinator = Coordinator::new(partition, term, self.config.clone(), self.store_timeout_ms);
        self.coordinators.borrow_mut().insert(coordinator.partition().key.partition, coordinator.clone());
        coordinator.start(shard);
    }

    /// Resolves when every coordinator serves that has its records committed.
    pub async fn loaded(&self) {
        while self.coordinators.borrow().values().any(|coordinator| coordinator.phase() == Phase::Loads) {
            self.loaded.listen().await;
        }
    }

    /// Hands a request to its coordinator; the answer may take as long as a rebalance.
    pub fn serve_forward(&self, shard: &Rc<Shard>, forward: GroupForward) {
        let GroupForward { partition, request, context, answer } = forward;
        let coordinator = self.coordinators.borrow().get(&partition).cloned();
        let refusal = match &coordinator {
            None => not_coordinating(&shard.image(), shard.broker_id(), partition),
            Some(coordinator) if coordinator.may_be_replaced() => match &request {
                // It cannot be said which groups there are.
                GroupRequest::ListGroups(_) => ResponseError::CoordinatorNotAvailable,
                _ => ResponseError::NotCoordinator,
            },
            Some(coordinator) => match coordinator.phase() {
                Phase::Serves => return coordinator.handle(shard, request, &context, answer),
                Phase::AwaitsCommit | Phase::Loads => ResponseError::CoordinatorLoadInProgress,
                Phase::Failed => ResponseError::CoordinatorNotAvailable,
                Phase::Ended => ResponseError::NotCoordinator,
            },
        };
        let reply = match &request {
            // Groups that another broker coordinates are that one's to list.
            GroupRequest::ListGroups(_) if refusal == ResponseError::NotCoordinator => {
                GroupReply::ListGroups(ListGroupsResponse::default())
            }
            request => request.error_reply(context.api_version, refusal),
        };
        let _ = answer.send(reply);
    }

    /// Tells who subscribes to topics that they have changed.
    pub fn topics_changed(&self, changed: &TopicChanges, image: &MetadataImage) {
        for coordinator in self.coordinators.borrow().values() {
            coordinator.topics_changed(changed, image);
        }
    }

    /// Tells the coordinators of groups that configs of theirs have changed.
    pub fn configs_changed<'a>(
        &self,
        groups: impl IntoIterator<Item = &'a str>,
        image: &MetadataImage,
        broker: &BrokerConfig,
    ) {
        let Some(topic) = image.topic(OFFSETS_TOPIC) else { return };
        for group in groups {
            let partition = PartitionId(partition_for_group(group, topic.partition_count()));
            if let Some(coordinator) = self.coordinators.borrow().get(&partition) {
                let own = image.overrides(&ConfigResource::Group(group.to_owned()));
                coordinator.set_group_settings(group, settings(&own, broker));
            }
        }
    }

    /// Forgets the offsets committed for a deleted topic. The coordinators of `__consumer_offsets` end with its partitions.
    pub fn topic_deleted(&self, topic: &str, topic_id: TopicId) {
        for coordinator in self.coordinators.borrow().values() {
            coordinator.topic_deleted(topic, topic_id);
        }
    }

    /// What the groups of the coordinators that serve have committed: whole groups, of `max` partitions in all.
    pub async fn committed_offsets(&self, max: usize) -> CommittedOffsets {
        let coordinators: Vec<Rc<Coordinator>> = self.coordinators.borrow().values().cloned().collect();
        let (mut all, mut room) = (CommittedOffsets::default(), max);
        for coordinator in coordinators {
            coordinator.add_committed_offsets(&mut all, &mut room).await;
        }
        all
    }

    /// Groups that are coordinated here, and their members.
    pub fn sizes(&self) -> GroupSizes {
        let mut all = GroupSizes::default();
        self.coordinators.borrow().values().for_each(|coordinator| all.add(coordinator.sizes()));
        all
    }

    /// Ends the coordinators that others may replace, because this broker's lease has ended: who waits is sent to look for them.
    pub fn lease_ended(&self) {
        let replaceable = |running: &Coordinator| running.partition().is_replicated();
        let ended: Vec<Rc<Coordinator>> = {
            let mut coordinators = self.coordinators.borrow_mut();
            let ended = coordinators.extract_if(|_, running| replaceable(running));
            ended.map(|(_, running)| running).collect()
        };
        ended.iter().for_each(|running| running.end());
    }

    /// Answers all who wait, at shutdown.
    pub fn stop(&self) {
        for (_, coordinator) in self.coordinators.borrow_mut().drain() {
            coordinator.end();
        }
    }
}

/// What a group's configs come to, if it has any.
fn settings(own: &ConfigOverrides, broker: &BrokerConfig) -> Option<GroupSettings> {
    if own.is_empty() {
        return None;
    }
    let config = metadata::config::GroupConfig::resolve(own, broker);
    Some(GroupSettings {
        consumer_session_timeout_ms: config.consumer_session_timeout_ms,
        consumer_heartbeat_interval_ms: config.consumer_heartbeat_interval_ms,
        consumer_assignment_interval_ms: config.consumer_assignment_interval_ms,
    })
}

/// The config's values are checked where they are set.
fn migration_policy(name: &str) -> MigrationPolicy {
    match name {
        "upgrade" => MigrationPolicy::Upgrade,
        "downgrade" => MigrationPolicy::Downgrade,
        "disabled" => MigrationPolicy::Disabled,
        _ => MigrationPolicy::Bidirectional,
    }
}

/// Why no coordinator runs here for a partition of `__consumer_offsets`.
fn not_coordinating(image: &MetadataImage, broker: BrokerId, partition: PartitionId) -> ResponseError {
    match image.partition(OFFSETS_TOPIC, partition).and_then(|state| state.leader) {
        // It should: the partition is offline, or this broker is stopping.
        Some(leader) if leader == broker => ResponseError::CoordinatorNotAvailable,
        _ => ResponseError::NotCoordinator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shard::assignment::testing::{TOPIC_ID, created};

    #[test]
    fn who_does_not_lead_the_partition_says_so() {
        let partitions: [(&[i32], Option<i32>, i32); 3] =
            [(&[1, 2], Some(1), 0), (&[1, 2], Some(2), 0), (&[1], None, 0)];
        let records = created(TOPIC_ID, OFFSETS_TOPIC, &partitions);
        let image = MetadataImage::default().apply_batch(&records).unwrap().0;
        let here = BrokerId(1);
        let errors: Vec<_> = (0..4).map(|at| not_coordinating(&image, here, PartitionId(at))).collect();
        let not = ResponseError::NotCoordinator;
        assert_eq!(errors, [ResponseError::CoordinatorNotAvailable, not, not, not]);
    }
}
