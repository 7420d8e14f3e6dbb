//! The controller: the real decisions on a real image. Its log is taken as agreed: every decision is made on the newest image.
//!
//! Requests arrive late, twice or never, and so do answers. Who is asked before somebody is elected is in [`super::electing`].

use super::bug::Bug;
use super::tampering::tampered;
use metadata::cluster_id::ClusterId;
use metadata::controller::{
    AlterPartitionError, BrokerStart, ElectionType, Heartbeat, ImpairedReplica, Impairment, IsrChange, LogEnds,
    RemoveError, Sessions, WantedReassignment, Wish, alter_partition, alter_partition_reassignments, bootstrap_records,
    elect_leaders, elect_unclean, fence, heartbeat, join, register_broker, remove_node, report_impaired,
};
use metadata::image::{MetadataImage, PartitionImage};
use metadata::record::{ConfigResource, MetadataRecord, NodeBinding, PartitionRecord};
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use replication::leader::{Outcome, Proposal};
use std::collections::BTreeSet;
use std::time::Duration;
use uuid::Uuid;

pub const TOPIC: TopicId = TopicId(Uuid::from_u128(77));
const TOPIC_NAME: &str = "simulated";
/// After which a silent broker is fenced (`broker.session.timeout.ms`).
pub const SESSION_US: u64 = 1_000_000;

/// For which a lease holds.
pub fn lease_us() -> u64 {
    1000 * metadata::controller::lease_ms(SESSION_US / 1000)
}

/// What brokers ask.
#[derive(Clone, Debug)]
pub enum Request {
    Register {
        life: u64,
        directory: u64,
    },
    /// With the time on the sender's clock.
    Beat {
        epoch: u64,
        applied: u64,
        wish: Wish,
        sent_us: u64,
    },
    AlterPartition {
        number: u64,
        epoch: u64,
        partition: usize,
        proposal: Proposal,
    },
    /// These replicas have lost what was on their disk; found by this life.
    Lost {
        epoch: u64,
        life: u64,
        partitions: Vec<usize>,
    },
}

/// What they are answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Registered { epoch: u64 },
    Beaten { sent_us: u64, fenced: bool },
    Altered { number: u64, partition: usize, outcome: Outcome },
    LossNoted,
}

/// Why there is a new image: what the checkers have to know of it.
#[derive(Clone, Debug, Default)]
pub struct Cause {
    /// It may lead no more, whatever the image before says of it.
    pub gone: Option<BrokerId>,
    /// It has said that it lost records, or was removed.
    pub lost: Option<BrokerId>,
    /// What was known of logs where they were asked for.
    pub ends: Option<LogEnds>,
    /// Loss is allowed: it was asked for, or the config says so.
    pub unclean: bool,
    /// The leader says who is in sync.
    pub isr_said: bool,
}

pub struct Controller {
    /// One for every change, and why.
    images: Vec<(MetadataImage, Cause)>,
    pub sessions: Sessions,
    /// Fenced for their silence, and not let in since.
    pub silenced: BTreeSet<BrokerId>,
    /// `unclean.leader.election.enable` of the topic.
    allows_unclean: bool,
    bug: Option<Bug>,
}

fn binding(broker: usize, directory: u64) -> NodeBinding {
    let node = BrokerId(broker as i32);
    let directory_id = Uuid::from_u128((u128::from(directory) << 32) + broker as u128 + 1);
    NodeBinding { node, directory_id, address: format!("broker{broker}:9093") }
}

impl Controller {
    pub fn new(
        brokers: usize,
        replicas: &[Vec<usize>],
        min_insync: i32,
        allows_unclean: bool,
        bug: Option<Bug>,
    ) -> Controller {
        let image = (MetadataImage::default(), Cause::default());
        let sessions = Sessions::begin(Duration::ZERO);
        let mut controller =
            Controller { images: vec![image], sessions, silenced: BTreeSet::new(), allows_unclean, bug };
        controller.found(&bootstrap_records(ClusterId(Uuid::from_u128(1)), min_insync));
        for broker in 0..brokers {
            controller.found(&join(controller.image(), &binding(broker, 0)).expect("ids are free"));
        }
        controller.found(&[MetadataRecord::TopicCreated { topic_id: TOPIC, name: TOPIC_NAME.to_owned() }]);
        if allows_unclean {
            controller.found(&[MetadataRecord::ConfigChanged {
                resource: ConfigResource::Topic(TOPIC_NAME.to_owned()),
                name: "unclean.leader.election.enable".to_owned(),
                value: Some("true".to_owned()),
            }]);
        }
        for (partition, replicas) in replicas.iter().enumerate() {
            // Nobody leads before brokers have come.
            let replicas: Vec<BrokerId> = replicas.iter().map(|id| BrokerId(*id as i32)).collect();
            controller.found(&[MetadataRecord::PartitionChanged(PartitionRecord {
                topic_id: TOPIC,
                partition: PartitionId(partition as i32),
                isr: replicas.clone(),
                replicas,
                leader: None,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
            })]);
        }
        controller
    }

    fn found(&mut self, records: &[MetadataRecord]) {
        let (image, _) = self.image().apply_batch(records).expect("a new cluster is well-formed");
        self.images.push((image, Cause::default()));
    }

    pub fn image(&self) -> &MetadataImage {
        &self.images.last().expect("there is one from the start").0
    }

    pub fn version(&self) -> usize {
        self.images.len() - 1
    }

    pub fn at(&self, version: usize) -> &MetadataImage {
        &self.images[version].0
    }

    pub fn cause(&self, version: usize) -> &Cause {
        &self.images[version].1
    }

    fn commit(&mut self, records: Vec<MetadataRecord>, cause: Cause) {
        let records = tampered(self.bug, self.image(), records, &cause);
        if !records.is_empty() {
            let (image, _) = self.image().apply_batch(&records).expect("what was decided on an image applies to it");
            self.images.push((image, cause));
        }
    }

    /// What is known of logs, as decisions are told of it.
    fn told<'a>(&self, ends: &'a LogEnds, nothing: &'a LogEnds) -> &'a LogEnds {
        if self.bug == Some(Bug::IgnoreLogEnds) { nothing } else { ends }
    }

    /// `None` where the broker has no place in the cluster. `ends` is what was asked for before.
    pub fn on_request(&mut self, broker: usize, request: &Request, ends: &LogEnds, now_us: u64) -> Option<Answer> {
        let id = BrokerId(broker as i32);
        let now = Duration::from_micros(now_us);
        let (nothing, asked) = (LogEnds::default(), Some(ends.clone()));
        let ends = self.told(ends, &nothing);
        match request {
            Request::Register { life, directory } => {
                let start = BrokerStart {
                    node: binding(broker, *directory),
                    incarnation: Uuid::from_u128(u128::from(*life) + 1),
                    host: "simulated".to_owned(),
                    port: 9092,
                    rack: None,
                    shards: 1,
                };
                // A start that was overtaken by the next one's, which the real network's order of connections rules out.
                let newest = self.image().broker(id).map(|known| known.incarnation.as_u128());
                if newest > Some(u128::from(*life) + 1) {
                    return None;
                }
                let (mut records, epoch) = register_broker(self.image(), &start, ends).ok()?;
                if self.bug == Some(Bug::LeadAtOldEpoch) && self.image().is_unfenced(id) {
                    records.retain(|record| matches!(record, MetadataRecord::BrokerChanged(_)));
                    for record in &mut records {
                        let MetadataRecord::BrokerChanged(state) = record else { continue };
                        state.fenced_at = None;
                    }
                }
                self.commit(records, Cause { gone: Some(id), ends: asked, ..Cause::default() });
                self.sessions.heard(id, epoch, now);
                self.silenced.remove(&id);
                Some(Answer::Registered { epoch })
            }
            Request::Beat { epoch, applied, wish, sent_us } => {
                let beat = Heartbeat { broker: id, epoch: *epoch, applied: *applied, wish: *wish };
                let (records, fenced) = heartbeat(self.image(), &beat, ends).ok()?;
                let gone = (*wish == Wish::Fenced).then_some(id);
                self.commit(records, Cause { gone, ends: asked, ..Cause::default() });
                self.sessions.heard(id, *epoch, now);
                if !fenced {
                    self.silenced.remove(&id);
                }
                Some(Answer::Beaten { sent_us: *sent_us, fenced })
            }
            Request::AlterPartition { number, epoch, partition, proposal } => {
                let outcome = self.alter_partition(id, *epoch, *partition, proposal);
                Some(Answer::Altered { number: *number, partition: *partition, outcome })
            }
            Request::Lost { epoch, partitions, .. } => {
                let impaired = |partition: &usize| ImpairedReplica {
                    topic_id: TOPIC,
                    partition: PartitionId(*partition as i32),
                    impairment: Impairment::Lost,
                };
                let replicas: Vec<ImpairedReplica> = partitions.iter().map(impaired).collect();
                let records = report_impaired(self.image(), id, *epoch, &replicas).ok()?;
                if self.bug != Some(Bug::LostStaysEligible) {
                    self.commit(records, Cause { lost: Some(id), ..Cause::default() });
                }
                Some(Answer::LossNoted)
            }
        }
    }

    fn alter_partition(&mut self, broker: BrokerId, epoch: u64, partition: usize, proposal: &Proposal) -> Outcome {
        let partition_epoch = match self.bug {
            Some(Bug::IgnorePartitionEpoch) => self.partition(partition).partition_epoch,
            _ => proposal.partition_epoch,
        };
        let change = IsrChange {
            topic_id: TOPIC,
            partition: PartitionId(partition as i32),
            leader_epoch: proposal.leader_epoch,
            partition_epoch,
            new_isr: proposal.isr.clone(),
        };
        let Ok((records, answers)) = alter_partition(self.image(), broker, epoch, &[change]) else {
            return Outcome::Refused;
        };
        self.commit(records, Cause { isr_said: true, ..Cause::default() });
        match &answers[0].1 {
            Ok(_) => Outcome::Made,
            Err(error) => {
                let malformed = matches!(
                    error,
                    AlterPartitionError::UnknownTopicId { .. }
                        | AlterPartitionError::UnknownPartition { .. }
                        | AlterPartitionError::NewerThanController { .. }
                        | AlterPartitionError::WithoutLeader { .. }
                        | AlterPartitionError::NoReplica { .. }
                        | AlterPartitionError::Repeated { .. }
                        | AlterPartitionError::TooManyRecords
                );
                assert!(!malformed || self.bug.is_some(), "no leader asks for such a thing: {error}");
                Outcome::Refused
            }
        }
    }

    /// Another controller leads: it has heard of nobody yet.
    pub fn begin_anew(&mut self, now_us: u64) {
        self.sessions = Sessions::begin(Duration::from_micros(now_us));
    }

    pub fn silent(&mut self, now_us: u64) -> Vec<BrokerId> {
        let image = self.image().clone();
        self.sessions.silent(&image, Duration::from_micros(SESSION_US), Duration::from_micros(now_us))
    }

    pub fn fence_silent(&mut self, broker: BrokerId, ends: &LogEnds) {
        let nothing = LogEnds::default();
        let records = fence(self.image(), broker, self.told(ends, &nothing));
        self.silenced.insert(broker);
        self.commit(records, Cause { gone: Some(broker), ends: Some(ends.clone()), ..Cause::default() });
    }

    /// Unclean elections: those that the config allows, or all that somebody asks for.
    pub fn elect_unclean(&mut self, asked_for: bool, ends: &LogEnds) {
        let nothing = LogEnds::default();
        let told = self.told(ends, &nothing);
        let records = match asked_for {
            true => elect_leaders(self.image(), ElectionType::Unclean, None, told).0,
            false => elect_unclean(self.image(), &self.config(), told),
        };
        let unclean = asked_for || self.allows_unclean;
        self.commit(records, Cause { unclean, ends: Some(ends.clone()), ..Cause::default() });
    }

    /// Its own, by which it judges topics that say nothing themselves.
    pub fn config(&self) -> metadata::config::BrokerConfig {
        self.image().broker_config(BrokerId(0), &metadata::config::StaticConfig::default())
    }

    /// A mistake: somebody leads whether that is allowed or not.
    pub fn elect_anybody(&mut self) {
        let (records, _) = elect_leaders(self.image(), ElectionType::Unclean, None, &LogEnds::default());
        self.commit(records, Cause::default());
    }

    /// Somebody wants every partition led by its first replica.
    pub fn elect_preferred(&mut self) {
        let (records, _) = elect_leaders(self.image(), ElectionType::Preferred, None, &LogEnds::default());
        self.commit(records, Cause::default());
    }

    /// Somebody wants a partition's replicas elsewhere, or (`None`) no longer so. Says whether that was accepted.
    pub fn reassign(&mut self, partition: usize, target: Option<Vec<usize>>) -> bool {
        let target = target.map(|target| target.into_iter().map(|id| BrokerId(id as i32)).collect());
        let wanted =
            WantedReassignment { topic: TOPIC_NAME.to_owned(), partition: PartitionId(partition as i32), target };
        let (records, answers) = alter_partition_reassignments(self.image(), true, &[wanted]);
        self.commit(records, Cause::default());
        answers[0].1.is_ok()
    }

    /// A broker whose disk is gone is taken out of the cluster, and comes in again with another directory.
    pub fn replace(&mut self, broker: usize, directory: u64) -> Result<(), RemoveError> {
        let id = BrokerId(broker as i32);
        match remove_node(self.image(), id) {
            Ok(records) => self.commit(records, Cause { gone: Some(id), lost: Some(id), ..Cause::default() }),
            // It was removed before.
            Err(RemoveError::Unknown { .. }) => {}
            Err(error) => return Err(error),
        }
        let records = join(self.image(), &binding(broker, directory)).expect("its id is free");
        self.commit(records, Cause::default());
        Ok(())
    }

    pub fn partition(&self, partition: usize) -> &PartitionImage {
        partition_of(self.image(), partition)
    }
}

pub fn partition_of(image: &MetadataImage, partition: usize) -> &PartitionImage {
    let topic = image.topic_by_id(TOPIC).expect("it is never deleted");
    topic.partition(PartitionId(partition as i32)).expect("partitions stay")
}
