//! Changed ISRs on their way to the controller (AlterPartition): one request at a time for each shard, with all that has come
//! together while the one before was under way.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use kafka_protocol::ResponseError;
use metadata::controller::IsrChange;
use protocol::LeaderEpoch;
use replication::leader::{Outcome, Proposal};

use crate::metadata_core::RequestFailed;
use crate::metadata_core::refusal::Refusal;
use crate::metadata_core::request::AlterPartition;
use crate::partition::Partition;
use crate::shard::Shard;

/// Changes of one request.
const CHANGES_MAX: usize = 1000;

/// See the module's documentation.
#[derive(Default)]
pub struct Proposals {
    waiting: RefCell<Vec<(Rc<Partition>, Proposal)>>,
    asking: Cell<bool>,
}

impl Proposals {
    pub fn add(&self, shard: &Rc<Shard>, partition: Rc<Partition>, proposal: Proposal) {
        self.waiting.borrow_mut().push((partition, proposal));
        if !self.asking.replace(true) {
            let shard = shard.clone();
            let queues = *shard.queues();
            queues.spawn_control(async move { shard.replicator().proposals.ask_all(&shard).await });
        }
    }

    async fn ask_all(&self, shard: &Shard) {
        loop {
            let together: Vec<_> = {
                let mut waiting = self.waiting.borrow_mut();
                let count = waiting.len().min(CHANGES_MAX);
                waiting.drain(..count).collect()
            };
            if together.is_empty() {
                self.asking.set(false);
                return;
            }
            ask(shard, together).await;
        }
    }
}

async fn ask(shard: &Shard, together: Vec<(Rc<Partition>, Proposal)>) {
    let changes = together.iter().map(|(partition, proposal)| IsrChange {
        topic_id: partition.key.topic_id,
        partition: partition.key.partition,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        new_isr: proposal.isr.clone(),
    });
    let request =
        AlterPartition { broker: shard.broker_id(), broker_epoch: shard.broker_epoch(), changes: changes.collect() };
    let answered = shard.metadata().ask(request).await;
    let outcomes: Vec<Outcome> = match answered {
        Ok(Ok(answers)) if answers.len() == together.len() => {
            answers.into_iter().map(|(_, answer)| outcome_of(answer.map(drop))).collect()
        }
        Ok(Ok(_)) => vec![Outcome::Unknown; together.len()],
        // Another process of this broker has registered.
        Ok(Err(_)) => vec![Outcome::Refused; together.len()],
        // It was made, and the metadata will say so.
        Err(RequestFailed::NotApplied(_)) => vec![Outcome::Made; together.len()],
        Err(error) => {
            tracing::warn!(shard = shard.index(), partitions = together.len(), %error,
                "the controller has not said what became of changed ISRs");
            vec![Outcome::Unknown; together.len()]
        }
    };
    for ((partition, proposal), outcome) in together.into_iter().zip(outcomes) {
        let Proposal { leader_epoch, partition_epoch, isr } = proposal;
        let isr: Vec<_> = isr.into_iter().map(|(id, _)| id).collect();
        note(&partition, leader_epoch, &isr, outcome);
        partition.on_proposal_outcome(leader_epoch, partition_epoch, outcome);
    }
}

fn note(partition: &Partition, leader_epoch: LeaderEpoch, isr: &[protocol::BrokerId], outcome: Outcome) {
    let (topic, number) = (&partition.topic, partition.key.partition);
    match outcome {
        Outcome::Made => tracing::info!(%topic, partition = %number, %leader_epoch, ?isr, "ISR changed"),
        Outcome::Refused | Outcome::Unknown => {
            tracing::info!(%topic, partition = %number, %leader_epoch, ?isr, ?outcome, "ISR not changed, for all that is known");
        }
    }
}

/// What an answer means for the proposal. A request may have been carried out twice: an answer that the partition has moved on
/// may be about the proposal itself.
fn outcome_of(answer: Result<(), Refusal>) -> Outcome {
    match answer.map_err(|refusal| refusal.error()) {
        Ok(()) => Outcome::Made,
        Err(
            ResponseError::IneligibleReplica
            | ResponseError::InvalidRequest
            | ResponseError::UnknownTopicId
            | ResponseError::UnknownTopicOrPartition
            | ResponseError::PolicyViolation,
        ) => Outcome::Refused,
        Err(_) => Outcome::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_may_be_about_the_proposal_itself_says_nothing() {
        let outcome = |error| outcome_of(Err(Refusal::new(error, &"refused")));
        assert_eq!(outcome_of(Ok(())), Outcome::Made);
        assert_eq!(outcome(ResponseError::IneligibleReplica), Outcome::Refused);
        for unknown in [
            ResponseError::InvalidUpdateVersion,
            ResponseError::FencedLeaderEpoch,
            ResponseError::NotLeaderOrFollower,
            ResponseError::NotController,
        ] {
            assert_eq!(outcome(unknown), Outcome::Unknown, "{unknown:?}");
        }
    }
}
