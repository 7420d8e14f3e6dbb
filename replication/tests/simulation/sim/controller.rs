//! The controller: the real decisions on a real image. Its log is taken as agreed: every decision is made on the newest image.
//!
//! Requests arrive late, twice or never, and so do answers.

use super::bug::Bug;
use metadata::cluster_id::ClusterId;
use metadata::controller::{
    AlterPartitionError, BrokerStart, ElectionType, Heartbeat, IsrChange, LogEnds, Wish, alter_partition,
    bootstrap_records, elect_leaders, fence, heartbeat, join, register_broker,
};
use metadata::image::{MetadataImage, PartitionImage};
use metadata::record::{MetadataRecord, NodeBinding, PartitionRecord};
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId, TopicId};
use replication::leader::{Outcome, Proposal};
use std::collections::BTreeMap;
use uuid::Uuid;

pub const TOPIC: TopicId = TopicId(Uuid::from_u128(77));
const TOPIC_NAME: &str = "simulated";
/// After which a silent broker is fenced.
const SESSION_US: u64 = 1_000_000;

/// What brokers ask.
#[derive(Clone, Debug)]
pub enum Request {
    Register { life: u64 },
    Beat { epoch: u64, applied: u64 },
    AlterPartition { number: u64, epoch: u64, partition: usize, proposal: Proposal },
}

/// What they are answered.
#[derive(Clone, Copy, Debug)]
pub enum Answer {
    Registered { epoch: u64 },
    Altered { number: u64, partition: usize, outcome: Outcome },
}

pub struct Controller {
    /// One for every change.
    images: Vec<MetadataImage>,
    heard_us: BTreeMap<BrokerId, u64>,
    bug: Option<Bug>,
}

fn binding(broker: usize) -> NodeBinding {
    let node = BrokerId(broker as i32);
    NodeBinding { node, directory_id: Uuid::from_u128(broker as u128 + 1), address: format!("broker{broker}:9093") }
}

impl Controller {
    pub fn new(brokers: usize, replicas: &[Vec<usize>], min_insync: i32, bug: Option<Bug>) -> Controller {
        let image = MetadataImage::default();
        let mut controller = Controller { images: vec![image], heard_us: BTreeMap::new(), bug };
        controller.commit(&bootstrap_records(ClusterId(Uuid::from_u128(1)), min_insync));
        for broker in 0..brokers {
            controller.commit(&join(controller.image(), &binding(broker)).expect("ids are free"));
        }
        controller.commit(&[MetadataRecord::TopicCreated { topic_id: TOPIC, name: TOPIC_NAME.to_owned() }]);
        for (partition, replicas) in replicas.iter().enumerate() {
            // Nobody leads before brokers have come.
            let replicas: Vec<BrokerId> = replicas.iter().map(|id| BrokerId(*id as i32)).collect();
            controller.commit(&[MetadataRecord::PartitionChanged(PartitionRecord {
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

    pub fn image(&self) -> &MetadataImage {
        self.images.last().expect("there is one from the start")
    }

    pub fn version(&self) -> usize {
        self.images.len() - 1
    }

    pub fn at(&self, version: usize) -> &MetadataImage {
        &self.images[version]
    }

    fn commit(&mut self, records: &[MetadataRecord]) {
        if !records.is_empty() {
            let (image, _) = self.image().apply_batch(records).expect("what was decided on an image applies to it");
            self.images.push(image);
        }
    }

    pub fn on_request(&mut self, broker: usize, request: &Request, now_us: u64) -> Option<Answer> {
        let id = BrokerId(broker as i32);
        match request {
            Request::Register { life } => {
                let start = BrokerStart {
                    node: binding(broker),
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
                let (mut records, epoch) =
                    register_broker(self.image(), &start, &LogEnds::default()).expect("it has joined");
                if self.bug == Some(Bug::LeadAtOldEpoch) && self.image().is_unfenced(id) {
                    records.retain(|record| matches!(record, MetadataRecord::BrokerChanged(_)));
                    for record in &mut records {
                        let MetadataRecord::BrokerChanged(state) = record else { continue };
                        state.fenced_at = None;
                    }
                }
                self.commit(&records);
                self.heard_us.insert(id, now_us);
                Some(Answer::Registered { epoch })
            }
            Request::Beat { epoch, applied } => {
                let beat = Heartbeat { broker: id, epoch: *epoch, applied: *applied, wish: Wish::Unfenced };
                if let Ok((records, _)) = heartbeat(self.image(), &beat, &LogEnds::default()) {
                    self.commit(&records);
                    self.heard_us.insert(id, now_us);
                }
                None
            }
            Request::AlterPartition { number, epoch, partition, proposal } => {
                let outcome = self.alter_partition(id, *epoch, *partition, proposal);
                Some(Answer::Altered { number: *number, partition: *partition, outcome })
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
        self.commit(&records);
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

    /// Fences who was not heard of.
    pub fn look_at_sessions(&mut self, now_us: u64) {
        let silent: Vec<BrokerId> = self
            .heard_us
            .iter()
            .filter(|(_, heard_us)| now_us.saturating_sub(**heard_us) > SESSION_US)
            .map(|(id, _)| *id)
            .collect();
        for id in silent {
            let records = fence(self.image(), id, &LogEnds::default());
            self.commit(&records);
        }
        if self.bug == Some(Bug::ElectOutsideIsr) {
            self.elect_anybody();
        }
    }

    fn elect_anybody(&mut self) {
        let (records, _) = elect_leaders(self.image(), ElectionType::Unclean, None, &LogEnds::default());
        self.commit(&records);
    }

    /// Somebody wants every partition led by its first replica.
    pub fn elect_preferred(&mut self) {
        let (records, _) = elect_leaders(self.image(), ElectionType::Preferred, None, &LogEnds::default());
        self.commit(&records);
    }

    pub fn partition(&self, partition: usize) -> &PartitionImage {
        partition_of(self.image(), partition)
    }
}

pub fn partition_of(image: &MetadataImage, partition: usize) -> &PartitionImage {
    let topic = image.topic_by_id(TOPIC).expect("it is never deleted");
    topic.partition(PartitionId(partition as i32)).expect("partitions stay")
}
