//! One client: what it knows of itself, what it sends, and what it makes of the answers.

use std::collections::BTreeSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::Assignment;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

use super::super::super::records::consumer_group::AssignmentWithEpochs;
use super::super::super::{GroupConfig, RequestToken};
use super::super::scenario::text;
use super::{Assignors, GROUP, REBALANCE_TIMEOUT_MS, SUBSCRIPTIONS, Sent};

pub(super) type Partitions = BTreeSet<(TopicId, i32)>;

#[derive(Debug)]
pub(super) struct Client {
    number: usize,
    /// Processes so far.
    processes: usize,
    pub(super) member_id: StrBytes,
    assignor: Option<&'static str>,
    pub(super) subscription: usize,
    /// What the coordinator is known to have been told.
    told_subscription: Option<usize>,
    /// 0: not in the group.
    pub(super) epoch: i32,
    /// What it works on.
    pub(super) owned: Partitions,
    /// What it is to have.
    pub(super) told: Partitions,
    /// What the coordinator is known to have been told that it owns.
    reported: Option<Partitions>,
    /// It has been told anew what it is to have, and has yet to say what it owns, be that the same.
    is_to_report: bool,
    /// It has said, in a heartbeat whose answer it does not have, that it does not own all that it is to have.
    has_disclaimed: bool,
    /// It has got the answer to the last that it sent, so that it knows where it is.
    pub(super) is_sure: bool,
    /// When it sent the last heartbeat that was accepted, in milliseconds since the epoch.
    pub(super) heard_ms: i64,
    pub(super) pending: Option<RequestToken>,
}

impl Client {
    pub(super) fn new(number: usize, assignors: Assignors, subscription: usize) -> Client {
        let mixed = [None, Some("uniform"), Some("range")];
        let assignor = match assignors {
            Assignors::Default => None,
            Assignors::Range => Some("range"),
            Assignors::Mixed => mixed[number % mixed.len()],
        };
        let mut client = Client {
            number,
            processes: 0,
            member_id: StrBytes::new(),
            assignor,
            subscription,
            told_subscription: None,
            epoch: 0,
            owned: Partitions::new(),
            told: Partitions::new(),
            reported: None,
            is_to_report: false,
            has_disclaimed: false,
            is_sure: false,
            heard_ms: 0,
            pending: None,
        };
        client.start_over(true);
        client
    }

    pub(super) fn instance_id(&self) -> Option<StrBytes> {
        [None, None, None, Some("i"), Some("j"), Some("j")][self.number].map(text)
    }

    /// It is not in the group, as far as it knows, and has nothing.
    pub(super) fn start_over(&mut self, other_id: bool) {
        if other_id {
            self.processes += 1;
            self.member_id = text(&format!("c{}-{}", self.number, self.processes));
        }
        self.epoch = 0;
        self.owned.clear();
        self.told.clear();
        self.reported = None;
        self.told_subscription = None;
        self.has_disclaimed = false;
        self.is_sure = false;
    }

    /// Gives up first what it is not to have any more, then takes the rest; though not while it is on its way to the
    /// coordinator that it does not own that.
    pub(super) fn reconcile(&mut self) {
        if self.has_disclaimed {
            self.owned.retain(|partition| self.told.contains(partition));
        } else {
            self.owned = self.told.clone();
        }
    }

    /// The next heartbeat, and the subscription that it tells.
    pub(super) fn heartbeat(&mut self, full: bool) -> (ConsumerGroupHeartbeatRequest, Option<usize>) {
        let full = full || self.epoch == 0 || !self.is_sure || self.told_subscription != Some(self.subscription);
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(self.member_id.clone())
            .with_instance_id(self.instance_id())
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(-1);
        let is_done = self.is_to_report && self.owned == self.told;
        let reports = full || is_done || self.reported.as_ref() != Some(&self.owned);
        self.has_disclaimed |= reports && self.owned != self.told;
        let owned = reports.then(|| self.owned_topics());
        let request = request.with_topic_partitions(owned);
        if !full {
            return (request, None);
        }
        let (names, regex) = SUBSCRIPTIONS[self.subscription];
        let request = request
            .with_rack_id(Some(text(["r", "s"][self.number % 2])))
            .with_rebalance_timeout_ms(REBALANCE_TIMEOUT_MS)
            .with_subscribed_topic_names(Some(names.iter().map(|name| TopicName(text(name))).collect()))
            .with_server_assignor(self.assignor.map(text));
        // Version 0 has no regular expressions.
        let request = if self.number == 0 { request } else { request.with_subscribed_topic_regex(Some(text(regex))) };
        (request, Some(self.subscription))
    }

    pub(super) fn farewell(&self, stays: bool) -> ConsumerGroupHeartbeatRequest {
        let instance_id = self.instance_id();
        let epoch = if stays && instance_id.is_some() { -2 } else { -1 };
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_member_id(self.member_id.clone())
            .with_instance_id(instance_id)
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(-1)
    }

    fn owned_topics(&self) -> Vec<TopicPartitions> {
        let topics: BTreeSet<TopicId> = self.owned.iter().map(|(topic, _)| *topic).collect();
        let of_topic = |topic: TopicId| {
            let partitions = self.owned.range((topic, 0)..=(topic, i32::MAX)).map(|(_, partition)| *partition);
            TopicPartitions::default().with_topic_id(topic.0).with_partitions(partitions.collect())
        };
        topics.into_iter().map(of_topic).collect()
    }

    /// `assigned` is what the coordinator's durable records say that it is to have.
    pub(super) fn accepted(&mut self, sent: &Sent, response: &ConsumerGroupHeartbeatResponse, assigned: &Partitions) {
        assert!(response.member_epoch >= self.epoch, "epoch {} after {}", response.member_epoch, self.epoch);
        self.pending = None;
        self.epoch = response.member_epoch;
        self.is_sure = true;
        self.has_disclaimed = false;
        self.heard_ms = sent.at_ms;
        self.told_subscription = sent.subscription.or(self.told_subscription);
        if let Some(reported) = &sent.request.topic_partitions {
            let all = reported.iter().flat_map(|t| t.partitions.iter().map(|p| (TopicId(t.topic_id), *p)));
            self.reported = Some(all.collect());
            self.is_to_report = false;
        }
        if let Some(assignment) = &response.assignment {
            let told = told(assignment);
            self.is_to_report |= told != self.told;
            self.told = told;
        }
        assert_eq!(self.told, *assigned, "the member was not told of a change");
    }

    pub(super) fn refused(&mut self, now_ms: i64, config: &GroupConfig, error: ResponseError) {
        self.pending = None;
        match error {
            ResponseError::CoordinatorNotAvailable | ResponseError::NotCoordinator => self.is_sure = false,
            ResponseError::UnreleasedInstanceId if self.epoch == 0 => {}
            ResponseError::GroupMaxSizeReached if self.epoch == 0 => {}
            ResponseError::UnknownMemberId
            | ResponseError::FencedMemberEpoch
            | ResponseError::FencedInstanceId
            | ResponseError::GroupMaxSizeReached
            | ResponseError::GroupIdNotFound => {
                let is_silent = now_ms >= self.heard_ms + i64::from(config.consumer_session_timeout_ms);
                let reported_all = self.reported.as_ref().is_some_and(|reported| reported.is_subset(&self.told));
                let is_slow = self.is_to_report || !reported_all;
                assert!(self.epoch > 0, "{error:?} to one that joins");
                assert!(!self.is_sure || is_silent || is_slow, "{error:?} without a reason: {self:?}");
                self.start_over(false);
            }
            error => panic!("{error:?} is not to be expected"),
        }
    }

    pub(super) fn is_subscribed_to(&self, topic: &str) -> bool {
        let (names, regex) = SUBSCRIPTIONS[self.subscription];
        let by_regex = match regex {
            _ if self.number == 0 => false,
            "t.*" => topic.starts_with('t'),
            "[uv]" => topic == "u" || topic == "v",
            _ => false,
        };
        names.contains(&topic) || by_regex
    }
}

pub(super) fn told(assignment: &Assignment) -> Partitions {
    let topics = assignment.topic_partitions.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|partition| (TopicId(topic.topic_id), *partition))).collect()
}

pub(super) fn partitions(assigned: &AssignmentWithEpochs) -> Partitions {
    assigned.iter().flat_map(|(topic, own)| own.keys().map(|partition| (*topic, *partition))).collect()
}
