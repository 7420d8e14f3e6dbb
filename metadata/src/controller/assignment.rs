//! Which brokers get the replicas of new partitions.
//!
//! Placed so that a topic's leaders and replicas are even over the brokers, then all that they hold, and replicas of one
//! partition are on different racks while there are racks left. The same image and request always give the same placement.

use crate::image::{MetadataImage, PartitionImage, TopicImage};
use crate::record::BrokerState;
use protocol::newtypes::{BrokerId, LeaderEpoch};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Why replicas cannot be placed as wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AssignmentError {
    #[error("The manual partition assignment includes an empty replica list.")]
    NoReplicas,
    #[error("The manual partition assignment includes the broker {broker} more than once.")]
    DuplicateBroker { broker: BrokerId },
    #[error("The manual partition assignment includes broker {broker}, but no such broker is registered.")]
    UnknownBroker { broker: BrokerId },
    #[error(
        "The manual partition assignment includes a partition with {found} replica(s), but this is not consistent with \
         previous partitions, which have {expected} replica(s)."
    )]
    UnevenReplicas { expected: usize, found: usize },
    #[error("Found multiple manual partition assignments for partition {partition}")]
    DuplicatePartition { partition: i32 },
    #[error("partitions should be a consecutive 0-based integer sequence")]
    NotConsecutive,
    #[error("Attempted to add {added} additional partition(s), but only {given} assignment(s) were specified.")]
    WrongCount { added: usize, given: usize },
    #[error(
        "All brokers specified in the manual partition assignment for partition {partition} are fenced or in controlled \
         shutdown."
    )]
    AllFenced { partition: i32 },
}

/// Replicas cannot be placed on the brokers that there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TooFewBrokers {
    #[error(
        "Unable to replicate the partition {wanted} time(s): The target replication factor of {wanted} cannot be reached \
         because only {registered} broker(s) are registered or some brokers have all their log directories cordoned."
    )]
    Registered { wanted: i16, registered: usize },
    #[error(
        "Unable to replicate the partition {wanted} time(s): All brokers are currently fenced or have all their log \
         directories cordoned."
    )]
    AllFenced { wanted: i16 },
}

/// Checks one partition's replicas as somebody wants them; `expected` is the count of partitions before.
pub(super) fn check_manual(
    image: &MetadataImage,
    replicas: &[BrokerId],
    expected: Option<usize>,
) -> Result<(), AssignmentError> {
    if replicas.is_empty() {
        return Err(AssignmentError::NoReplicas);
    }
    let mut seen = BTreeSet::new();
    // In order of id, as Kafka looks at them: which of several mistakes is reported follows from it.
    let mut sorted = replicas.to_vec();
    sorted.sort_unstable();
    for broker in sorted {
        if image.broker(broker).is_none() {
            return Err(AssignmentError::UnknownBroker { broker });
        }
        if !seen.insert(broker) {
            return Err(AssignmentError::DuplicateBroker { broker });
        }
    }
    match expected {
        Some(expected) if expected != replicas.len() => {
            Err(AssignmentError::UnevenReplicas { expected, found: replicas.len() })
        }
        _ => Ok(()),
    }
}

/// The state of a new partition with these replicas: those that are not fenced are in sync, and the first of them leads.
/// `None` if there is none. A replica that is fenced and comes back has to catch up like any other.
pub(super) fn new_partition(image: &MetadataImage, replicas: &[BrokerId]) -> Option<PartitionImage> {
    let replicas: Arc<[BrokerId]> = replicas.into();
    let isr: Arc<[BrokerId]> = match replicas.iter().all(|replica| image.is_unfenced(*replica)) {
        true => Arc::clone(&replicas),
        false => replicas.iter().copied().filter(|replica| image.is_unfenced(*replica)).collect(),
    };
    let leader = Some(*isr.first()?);
    Some(PartitionImage {
        replicas,
        isr,
        elr: Arc::default(),
        last_known_elr: Arc::default(),
        leader,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        reassignment: None,
    })
}

/// As [`new_partition`], for replicas that somebody wants.
pub(super) fn assigned_partition(
    image: &MetadataImage,
    partition: i32,
    replicas: &[BrokerId],
) -> Result<PartitionImage, AssignmentError> {
    new_partition(image, replicas).ok_or(AssignmentError::AllFenced { partition })
}

/// Places partitions one after another, remembering what it has placed.
pub(super) struct Placer<'a> {
    /// In order of id.
    brokers: Vec<Load<'a>>,
}

struct Load<'a> {
    broker: BrokerId,
    fenced: bool,
    rack: Option<&'a str>,
    held: Held,
    /// Of that, of the topic at hand.
    of_topic: Held,
}

#[derive(Clone, Copy, Default)]
struct Held {
    leaders: usize,
    replicas: usize,
}

impl Held {
    fn count(&mut self, leads: bool) {
        self.replicas += 1;
        self.leaders += usize::from(leads);
    }
}

impl<'a> Placer<'a> {
    /// Counts what the image's brokers hold: work in proportion to all partitions, so once per request.
    pub fn new(image: &'a MetadataImage) -> Placer<'a> {
        let load = |broker: &'a Arc<BrokerState>| Load {
            broker: broker.broker,
            fenced: broker.is_fenced(),
            rack: broker.rack.as_deref(),
            held: Held::default(),
            of_topic: Held::default(),
        };
        let mut placer = Placer { brokers: image.brokers().map(load).collect() };
        let partitions = image.topics().flat_map(|topic| topic.partitions());
        partitions.for_each(|(_, partition)| placer.count(&partition.replicas, |load| &mut load.held));
        placer
    }

    /// Partitions are placed for this topic from now on; `None` is a new one.
    pub fn begin_topic(&mut self, topic: Option<&TopicImage>) {
        self.brokers.iter_mut().for_each(|load| load.of_topic = Held::default());
        let partitions = topic.into_iter().flat_map(TopicImage::partitions);
        partitions.for_each(|(_, partition)| self.count(&partition.replicas, |load| &mut load.of_topic));
    }

    fn count(&mut self, replicas: &[BrokerId], held: impl for<'b> Fn(&'b mut Load<'a>) -> &'b mut Held) {
        for (at, broker) in replicas.iter().enumerate() {
            if let Ok(found) = self.brokers.binary_search_by_key(broker, |load| load.broker) {
                held(&mut self.brokers[found]).count(at == 0);
            }
        }
    }

    /// Replicas for one more partition, its preferred leader first. Fenced brokers get some only where there are not enough
    /// others, as in Kafka, and never lead.
    pub fn place(&mut self, replication_factor: i16) -> Result<Vec<BrokerId>, TooFewBrokers> {
        let too_few = TooFewBrokers::Registered { wanted: replication_factor, registered: self.brokers.len() };
        let wanted = usize::try_from(replication_factor).map_err(|_| too_few)?;
        if wanted == 0 || wanted > self.brokers.len() {
            return Err(too_few);
        }
        if self.brokers.iter().all(|load| load.fenced) {
            return Err(TooFewBrokers::AllFenced { wanted: replication_factor });
        }
        let mut chosen: Vec<usize> = Vec::with_capacity(wanted);
        for replica in 0..wanted {
            let racks_used = |load: &Load<'_>| {
                load.rack.is_some_and(|rack| chosen.iter().any(|at| self.brokers[*at].rack == Some(rack)))
            };
            let next = (0..self.brokers.len())
                .filter(|at| !chosen.contains(at))
                .min_by_key(|at| {
                    let load = &self.brokers[*at];
                    // Even within the topic first, which is what its clients meet, and then over all topics.
                    let (held, of_topic) = (load.held, load.of_topic);
                    let leaders = if replica == 0 { (of_topic.leaders, held.leaders) } else { (0, 0) };
                    (load.fenced, racks_used(load), leaders, of_topic.replicas, held.replicas, load.broker)
                })
                .expect("fewer chosen than there are brokers");
            chosen.push(next);
        }
        let replicas: Vec<BrokerId> = chosen.into_iter().map(|at| self.brokers[at].broker).collect();
        self.count(&replicas, |load| &mut load.held);
        self.count(&replicas, |load| &mut load.of_topic);
        Ok(replicas)
    }
}
