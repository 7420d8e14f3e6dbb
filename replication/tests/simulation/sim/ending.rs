//! How a seed ends: all is mended, and the cluster must become whole and equal.

use super::checks::{Checked, Checker, reassigned};
use super::world::World;
use protocol::newtypes::BrokerId;

/// Within which a cluster that has healed must be whole again.
const HEALING_US_MAX: u64 = 12_000_000;
/// For which it is looked at when it should be idle.
const LOOK_EVERY_US: u64 = 100_000;

impl World {
    /// Whether every partition is whole: led, all in sync.
    pub fn is_whole(&self) -> bool {
        (0..self.partitions).all(|partition| {
            let state = self.controller.partition(partition);
            state.leader.is_some() && state.isr.len() == state.replicas.len() && state.reassignment.is_none()
        })
    }

    /// Everything has healed: the cluster must become whole, commit new records, and in the end be equal everywhere.
    pub fn settle(&mut self) {
        self.note(|| "all is well from here on".to_owned());
        self.heal();
        let deadline_us = self.now_us + HEALING_US_MAX;
        let before: Vec<usize> = self.checks.iter().map(|checks| checks.acknowledged.count()).collect();
        let is_back = |world: &World| {
            let commits =
                world.checks.iter().zip(&before).all(|(checks, before)| checks.acknowledged.count() > *before);
            world.is_whole() && commits
        };
        while self.violation.is_none() && !is_back(self) {
            if self.now_us >= deadline_us {
                let states: Vec<_> = (0..self.partitions).map(|at| self.controller.partition(at).clone()).collect();
                let text = format!("after {HEALING_US_MAX} us without trouble the partitions are {states:?}");
                self.check(Err((Checker::Progress, text)));
                return;
            }
            self.run_until(self.now_us + LOOK_EVERY_US);
        }
        self.quiet = true;
        while self.violation.is_none() {
            self.run_until(self.now_us + LOOK_EVERY_US);
            let at_end = self.check_end();
            if at_end.iter().all(Checked::is_ok) {
                break;
            }
            if self.now_us >= deadline_us + 3_000_000 {
                at_end.into_iter().for_each(|checked| self.check(checked));
                return;
            }
        }
    }

    fn check_end(&self) -> Vec<Checked> {
        let mut checked = Vec::new();
        for partition in 0..self.partitions {
            let replicas = &self.controller.partition(partition).replicas;
            for broker in 0..self.brokers.len() {
                let Some(process) = &self.brokers[broker].process else {
                    checked.push(Err((Checker::Progress, format!("broker {broker} does not run"))));
                    continue;
                };
                let part = &process.parts[partition];
                let log = &self.brokers[broker].disk[partition];
                if !replicas.contains(&BrokerId(broker as i32)) {
                    checked.push(reassigned::at_end(broker, log));
                    continue;
                }
                checked.extend(self.checks[partition].at_end(broker, log, part.high_watermark));
                if !log.is_synced() || log.end != part.high_watermark {
                    let (end, high_watermark) = (log.end, part.high_watermark);
                    let text = format!("broker {broker} has {end}, and only {high_watermark} is committed");
                    checked.push(Err((Checker::Progress, text)));
                }
            }
        }
        checked
    }
}
