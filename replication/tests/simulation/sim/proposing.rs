//! What a leader asks the controller for, and what becomes of it.

use super::bug::Bug;
use super::controller::Request;
use super::events::Event;
use super::leading::{Leading, assignment};
use super::world::World;
use metadata::image::PartitionImage;
use protocol::newtypes::{BrokerId, Offset};
use replication::leader::{Effects, Leader, Outcome};
use std::collections::BTreeMap;

/// After which a proposal counts as unanswered.
const ANSWER_US_MAX: u64 = 400_000;

impl World {
    /// Does what follows from an event.
    pub fn take(&mut self, broker: usize, partition: usize, effects: Effects) {
        self.rose(broker, partition, effects.high_watermark);
        let Some(proposal) = effects.proposal else { return };
        let in_force = self.leading(broker, partition).map_or(0, |leading| leading.in_sync());
        if self.has(Bug::NeverJoin) && proposal.isr.len() > in_force {
            return;
        }
        self.note(|| format!("broker {broker} proposes {proposal:?} for partition {partition}"));
        self.next_request += 1;
        let (number, life) = (self.next_request, self.life(broker));
        let partition_epoch = proposal.partition_epoch;
        // A process that knows an ISR knows its own registration.
        let own = self.brokers[broker].process.as_ref().and_then(|process| process.epoch());
        let epoch = own.expect("whoever leads is registered");
        if self.has(Bug::ShrinkWithoutController) {
            let isr: Vec<BrokerId> = proposal.isr.iter().map(|(id, _)| *id).collect();
            self.make_anew(broker, partition, Some(isr));
        }
        let leading = self.leading_mut(broker, partition).expect("it leads");
        leading.asked = Some((number, partition_epoch));
        self.ask(life, Request::AlterPartition { number, epoch, partition, proposal });
        self.after(ANSWER_US_MAX, Event::Unanswered { life, partition, number });
    }

    pub fn on_outcome(&mut self, broker: usize, partition: usize, number: u64, outcome: Outcome) {
        let Some(leading) = self.leading_mut(broker, partition) else { return };
        let Some((_, partition_epoch)) = leading.asked.filter(|(asked, _)| *asked == number) else { return };
        leading.asked = None;
        if self.has(Bug::ForgetRefusedProposal) && outcome == Outcome::Refused {
            self.make_anew(broker, partition, None);
        }
        self.note(|| format!("broker {broker} hears of its proposal for partition {partition}: {outcome:?}"));
        let rose = self.decide(broker, partition, |leader, now| leader.on_outcome(partition_epoch, outcome, now.ms));
        self.rose(broker, partition, rose.flatten());
    }

    pub fn on_unanswered(&mut self, broker: usize, partition: usize, number: u64) {
        let waits = |leading: &Leading| leading.asked.is_some_and(|(asked, _)| asked == number);
        if !self.leading(broker, partition).is_some_and(waits) {
            return;
        }
        if self.has(Bug::ForgetProposalInDoubt) {
            self.make_anew(broker, partition, None);
        }
        self.on_outcome(broker, partition, number, Outcome::Unknown);
    }

    /// A leader that has forgotten what it proposed, and goes by another ISR if one is given: for mistakes only.
    fn make_anew(&mut self, broker: usize, partition: usize, isr: Option<Vec<BrokerId>>) {
        let state = self.process(broker).partition(partition).clone();
        let state = PartitionImage { isr: isr.map_or_else(|| state.isr.clone(), Into::into), ..state };
        let leading = self.leading(broker, partition).expect("it leads");
        let (old, settings) = (leading.leader.clone(), self.settings());
        let epochs: BTreeMap<BrokerId, u64> =
            leading.outgoing.iter().map(|(id, outgoing)| (BrokerId(*id as i32), outgoing.broker_epoch)).collect();
        let durable = Offset(self.brokers[broker].disk[partition].durable);
        let id = BrokerId(broker as i32);
        let fresh = self.decide_new(broker, old.epoch_start().0, |now| {
            Leader::new(id, assignment(&state), settings, old.high_watermark(), durable, now)
        });
        self.leading_mut(broker, partition).expect("it leads").leader = fresh;
        let told: Vec<_> = old.status(0, Offset::ZERO).filter(|replica| replica.id != id).collect();
        for replica in told {
            let (Some(end), Some(epoch)) = (replica.durable_end, epochs.get(&replica.id)) else { continue };
            let effects = self.decide(broker, partition, |leader, now| leader.on_agreed(replica.id, *epoch, end, now));
            let effects = effects.unwrap_or_default();
            match self.has(Bug::ShrinkWithoutController) {
                true => self.rose(broker, partition, effects.high_watermark),
                false => self.take(broker, partition, effects),
            }
        }
        let high_watermark = self.leading(broker, partition).expect("it leads").leader.high_watermark();
        let known = self.part(broker, partition).high_watermark;
        self.rose(broker, partition, Some(high_watermark).filter(|rose| rose.0 > known));
    }
}
