//! What operators do: they move replicas, replace disks, and have somebody elected where nobody may lead.

use super::events::Event;
use super::network::Life;
use super::world::World;
use protocol::newtypes::BrokerId;

const LOOK_US: u64 = 300_000;
/// For which a healed cluster is left alone before loss is taken into account.
const PATIENCE_US: u64 = 3_000_000;

impl World {
    pub fn operate(&mut self) {
        self.after(LOOK_US, Event::Operate);
        self.replace_wiped();
        let is_patient = self.healed_us.is_none_or(|at| self.now_us < at + PATIENCE_US);
        if is_patient && !self.brokers.iter().any(|broker| broker.is_wiped) {
            return;
        }
        // Nobody who may lead is there, or will be.
        let hopeless = |partition: &usize| {
            let state = self.controller.partition(*partition);
            let is_back = |id: &BrokerId| {
                let broker = &self.brokers[id.0 as usize];
                !broker.is_wiped && broker.lost[*partition].is_none()
            };
            !state.isr.iter().chain(state.elr.iter()).any(is_back)
        };
        if self.leaderless().any(|partition| hopeless(&partition)) {
            self.ask_unclean();
        }
    }

    /// Somebody wants a partition's replicas elsewhere, or not any more.
    pub fn reassign(&mut self) {
        let partition = self.random.index(self.partitions);
        let is_moving = self.controller.partition(partition).reassignment.is_some();
        let target = if is_moving && self.random.happens(35) {
            None
        } else {
            let mut brokers: Vec<usize> = (0..self.brokers.len()).collect();
            let most = brokers.len().min(4) as u64;
            let count =
                if self.random.happens(80) { self.random.between(2, most) } else { self.random.between(1, most) };
            let picked = (0..count).map(|_| brokers.swap_remove(self.random.index(brokers.len())));
            Some(picked.collect())
        };
        let shown = format!("{target:?}");
        let accepted = self.controller.reassign(partition, target);
        self.note(|| format!("partition {partition} is to be at {shown}, accepted: {accepted}"));
    }

    /// Whether the controller hears this broker, as far as it is up to the network.
    pub fn reports(&self, broker: usize) -> bool {
        self.brokers[broker].process.is_some() && !self.network.cut_off.contains(&(broker, true))
    }

    /// Whether the controller hears this broker, and is heard, as far as it is up to the network.
    pub fn is_heard(&self, broker: usize) -> bool {
        let cut_off = [true, false].iter().any(|way| self.network.cut_off.contains(&(broker, *way)));
        let at = &self.brokers[broker];
        let serves = at.process.as_ref().is_some_and(|process| process.started && !process.stopping);
        let weather = self.network.weather;
        let is_calm = weather.lost_percent == 0 && weather.controller_delay_us_max <= 200_000;
        serves && !cut_off && !at.metadata_stands && is_calm && self.is_alive(Life { broker, number: at.lives })
    }
}
