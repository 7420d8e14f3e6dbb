//! How replicas' logs end, as brokers tell when somebody is to be elected.
//!
//! Whoever is in sync or eligible has all that is committed, so any of them may lead. The one with the longest log is chosen
//! so that the least is cut elsewhere: what was appended and not yet acknowledged. An answer that is late or never comes
//! changes who is chosen and nothing else.

use super::PartitionKey;
use super::settle::candidates;
use crate::config::BrokerConfig;
use crate::image::{MetadataImage, PartitionImage, TopicImage};
use protocol::newtypes::{BrokerId, LeaderEpoch, Offset, PartitionId, TopicId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a log ends. The greater one has more of what may be committed: the epoch counts before the offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LogEnd {
    /// Of the last record; [`LeaderEpoch::UNKNOWN`] of a log that never had one.
    pub epoch: LeaderEpoch,
    /// The offset after it.
    pub end: Offset,
}

/// What is known of one log. The greater one leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Told {
    /// That it is not open.
    NotOpen,
    Nothing,
    End(LogEnd),
}

/// What brokers have told of their logs.
#[derive(Clone, Debug, Default)]
pub struct LogEnds(BTreeMap<(PartitionKey, BrokerId), Told>);

impl LogEnds {
    /// A broker has told how its log of a partition ends.
    pub fn insert(&mut self, partition: PartitionKey, broker: BrokerId, end: LogEnd) {
        self.0.insert((partition, broker), Told::End(end));
    }

    /// A broker has told that its log of a partition is not open.
    pub fn insert_not_open(&mut self, partition: PartitionKey, broker: BrokerId) {
        self.0.insert((partition, broker), Told::NotOpen);
    }

    /// `None` where the broker has told nothing, or that its log is not open.
    #[must_use]
    pub fn end_of(&self, topic: TopicId, partition: PartitionId, broker: BrokerId) -> Option<LogEnd> {
        match self.of(topic, partition, broker) {
            Told::End(end) => Some(end),
            Told::Nothing | Told::NotOpen => None,
        }
    }

    pub(super) fn of(&self, topic: TopicId, partition: PartitionId, broker: BrokerId) -> Told {
        self.0.get(&((topic, partition), broker)).copied().unwrap_or(Told::Nothing)
    }
}

/// Whom to ask about which partitions before somebody is elected.
pub type Questions = BTreeMap<BrokerId, Vec<PartitionKey>>;

/// Before a broker is fenced: the candidates for what it leads. Where one is left there is nothing to ask.
#[must_use]
pub fn questions_without(image: &MetadataImage, gone: BrokerId) -> Questions {
    ask_about(image, 2, |_, state| {
        let pool = if state.leader == Some(gone) { candidates(state, Some(gone)) } else { Vec::new() };
        pool.into_iter().filter(|candidate| image.is_unfenced(*candidate)).collect()
    })
}

/// Before unclean elections: all replicas of partitions that nobody leads, where it is allowed; a single one too, whose log may
/// not be open. `config` is the controller's.
#[must_use]
pub fn questions_unclean(image: &MetadataImage, config: &BrokerConfig) -> Questions {
    ask_about(image, 1, |topic, state| match state.leader {
        None if image.topic_config(&topic.name, config).unclean_leader_election_enable => alive(image, state),
        _ => Vec::new(),
    })
}

/// Before unclean elections that somebody asks for: all replicas of partitions that nobody leads.
#[must_use]
pub fn questions_leaderless(image: &MetadataImage) -> Questions {
    ask_about(image, 1, |_, state| match state.leader {
        None => alive(image, state),
        Some(_) => Vec::new(),
    })
}

fn alive(image: &MetadataImage, state: &PartitionImage) -> Vec<BrokerId> {
    state.replicas.iter().copied().filter(|replica| image.is_unfenced(*replica)).collect()
}

/// Where so many may lead.
fn ask_about(
    image: &MetadataImage,
    at_least: usize,
    whom: impl Fn(&TopicImage, &PartitionImage) -> Vec<BrokerId>,
) -> Questions {
    let mut questions = Questions::new();
    for topic in image.topics() {
        for (partition, state) in topic.partitions() {
            let asked = whom(topic, state);
            if asked.len() >= at_least {
                asked.into_iter().for_each(|broker| questions.entry(broker).or_default().push((topic.id, partition)));
            }
        }
    }
    questions
}
