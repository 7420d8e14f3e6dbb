//! How brokers come and go: they start, crash, stop in order, lose records or whole disks, and come back.

use super::bug::Bug;
use super::controller::{Answer, Request, lease_us};
use super::events::Event;
use super::lease::Lease;
use super::log::Log;
use super::network::Life;
use super::shell::{Part, Process};
use super::world::World;
use metadata::controller::Wish;
use metadata::image::MetadataImage;
use protocol::newtypes::BrokerId;
use std::collections::BTreeMap;

/// Between two heartbeats.
const BEAT_US: u64 = 250_000;
/// Before a registration, or a report of lost records, is tried again.
const AGAIN_US: u64 = 200_000;
/// For which a stop waits to be fenced.
const STOP_US_MAX: u64 = 1_500_000;

impl World {
    pub fn start(&mut self, broker: usize) {
        let at = &mut self.brokers[broker];
        if at.process.is_some() || at.is_wiped {
            return;
        }
        // A log that ends before what was once known to be committed has lost something, for all that its broker knows.
        for partition in 0..at.disk.len() {
            if at.checkpoints[partition] > at.disk[partition].end {
                at.lost[partition].get_or_insert(at.lives);
            }
        }
        at.lives += 1;
        let known = at.checkpoints.iter().zip(&at.disk).map(|(high_watermark, log)| (*high_watermark).min(log.end));
        let parts = known.map(|high_watermark| Part { high_watermark, ..Part::default() }).collect();
        at.process = Some(Process {
            number: at.lives,
            epoch: None,
            version: 0,
            image: MetadataImage::default(),
            started: false,
            stopping: false,
            lease: Lease::default(),
            parts,
            links: BTreeMap::new(),
        });
        let life = self.life(broker);
        self.note(|| format!("broker {broker} starts, {life:?}"));
        self.within(0, 10_000, Event::Beat { life });
        self.within(1_000, 20_000, Event::Poll { life });
        let tick_us = self.mood.tick_us;
        self.within(0, tick_us, Event::Tick { life });
    }

    /// The process ends, and starts anew after a while.
    pub fn crash(&mut self, broker: usize, least_us: u64, most_us: u64) {
        if self.brokers[broker].process.take().is_none() {
            return;
        }
        for partition in 0..self.partitions {
            self.brokers[broker].disk[partition].crash(&mut self.random);
        }
        self.ended(broker, "crashes");
        self.within(least_us, most_us, Event::Start { broker });
    }

    /// Its next processes end soon after they have begun.
    pub fn flap(&mut self, broker: usize, times: u64) {
        self.crash(broker, 5_000, 60_000);
        if times > 0 && !self.healed {
            self.within(100_000, 700_000, Event::Flap { broker, times: times - 1 });
        }
    }

    /// A crash after which some of what was on disk is not there: it was acknowledged before it was, or the disk has lied.
    pub fn crash_with_loss(&mut self, broker: usize) {
        if self.brokers[broker].process.is_none() {
            return;
        }
        self.crash(broker, 30_000, 2_000_000);
        for partition in 0..self.partitions {
            let at = &mut self.brokers[broker];
            if !at.disk[partition].is_empty() && self.random.happens(70) && at.disk[partition].lose(&mut self.random) {
                at.lost[partition] = Some(at.lives);
                self.forgotten(broker, partition);
                let end = self.brokers[broker].disk[partition].end;
                self.note(|| format!("broker {broker} has lost records of partition {partition}, which ends at {end}"));
            }
        }
    }

    /// The disk is gone, and comes back empty when somebody has taken the node out of the cluster.
    pub fn wipe(&mut self, broker: usize) {
        if self.brokers[broker].process.is_none() {
            return;
        }
        self.crash(broker, 1_000, 2_000);
        self.note(|| format!("broker {broker} has lost its disk"));
        let at = &mut self.brokers[broker];
        at.is_wiped = true;
        for partition in 0..self.partitions {
            let at = &mut self.brokers[broker];
            at.disk[partition].wipe();
            at.checkpoints[partition] = 0;
            at.lost[partition] = Some(u64::MAX);
            self.forgotten(broker, partition);
        }
    }

    /// What a broker had of a partition may be there no more.
    pub fn forgotten(&mut self, broker: usize, partition: usize) {
        self.checks[partition].same_disk.on_forgotten(broker);
        self.checks[partition].counted.on_forgotten(broker);
    }

    /// Somebody looks after brokers without a disk, one at a time.
    pub fn replace_wiped(&mut self) {
        let wiped = (0..self.brokers.len()).filter(|broker| self.brokers[*broker].is_wiped);
        for broker in wiped.collect::<Vec<_>>() {
            let directory = self.brokers[broker].directory + 1;
            if let Err(error) = self.controller.replace(broker, directory) {
                self.note(|| format!("broker {broker} stays: {error}"));
                continue;
            }
            self.counts.disks += 1;
            self.note(|| format!("broker {broker} has a new disk"));
            let at = &mut self.brokers[broker];
            (at.directory, at.is_wiped) = (directory, false);
            at.lost.iter_mut().for_each(|lost| *lost = None);
            self.within(1_000, 500_000, Event::Start { broker });
            return;
        }
    }

    /// The broker asks to be fenced, so that others lead; then its process ends.
    pub fn stop(&mut self, broker: usize) {
        let Some(process) = &mut self.brokers[broker].process else { return };
        if std::mem::replace(&mut process.stopping, true) {
            return;
        }
        let life = self.life(broker);
        self.note(|| format!("broker {broker} is to stop"));
        self.beat(life);
        self.after(STOP_US_MAX, Event::Stopped { life });
    }

    pub fn on_stopped(&mut self, life: Life) {
        self.brokers[life.broker].process = None;
        for partition in 0..self.partitions {
            self.brokers[life.broker].disk[partition].sync_all();
        }
        self.counts.stops += 1;
        self.ended(life.broker, "has stopped");
        self.within(30_000, 2_000_000, Event::Start { broker: life.broker });
    }

    fn ended(&mut self, broker: usize, how: &str) {
        self.note(|| {
            let ends: Vec<i64> = self.brokers[broker].disk.iter().map(|log| log.end).collect();
            format!("broker {broker} {how}; its logs end at {ends:?}")
        });
        let number = self.brokers[broker].lives;
        self.break_connections(|ends| ends.contains(&Life { broker, number }));
    }

    pub fn on_beat(&mut self, life: Life) {
        let next_us = self.beat(life);
        self.after(next_us, Event::Beat { life });
    }

    fn beat(&mut self, life: Life) -> u64 {
        let sent_us = self.brokers[life.broker].clock_us(self.now_us);
        let lost: Vec<usize> =
            (0..self.partitions).filter(|partition| self.brokers[life.broker].lost[*partition].is_some()).collect();
        let directory = self.brokers[life.broker].directory;
        let process = self.process(life.broker);
        let (request, next_us) = match process.epoch {
            None => (Request::Register { life: life.number, directory }, AGAIN_US),
            Some(epoch) if !lost.is_empty() => (Request::Lost { epoch, life: life.number, partitions: lost }, AGAIN_US),
            Some(epoch) if process.started => {
                let wish = if process.stopping { Wish::Fenced } else { Wish::Unfenced };
                let applied = process.image.metadata_offset();
                (Request::Beat { epoch, applied, wish, sent_us }, BEAT_US)
            }
            Some(_) => return 50_000,
        };
        self.ask(life, request);
        next_us
    }

    /// Sends a request to the controller; it may arrive twice, and any time.
    pub fn ask(&mut self, life: Life, request: Request) {
        let weather = self.network.weather;
        let copies = if self.random.happens(weather.repeated_percent) { 2 } else { 1 };
        for _ in 0..copies {
            let lost = self.random.happens(weather.lost_percent);
            if !lost && !self.network.cut_off.contains(&(life.broker, true)) {
                let request = request.clone();
                self.within(300, weather.controller_delay_us_max, Event::Asked { life, request });
            }
        }
    }

    pub fn on_answer(&mut self, life: Life, answer: Answer) {
        match answer {
            Answer::Registered { epoch } => {
                self.process(life.broker).epoch = Some(epoch);
                self.apply_all(life.broker);
            }
            Answer::Beaten { sent_us, fenced } => {
                let bug = self.has(Bug::LeaseThoughFenced);
                let process = self.process(life.broker);
                if !fenced || bug {
                    process.lease.extend(sent_us, lease_us());
                }
                if fenced && process.stopping {
                    self.on_stopped(life);
                }
            }
            Answer::Altered { number, partition, outcome } => self.on_outcome(life.broker, partition, number, outcome),
            Answer::LossNoted => {
                self.beat(life);
            }
        }
    }

    /// The controller knows of records that a broker has lost, as a process of it has found.
    pub fn on_loss_noted(&mut self, broker: usize, found_by: u64, partitions: &[usize]) {
        self.counts.reports_of_loss += 1;
        for partition in partitions {
            // Not of what was lost since.
            let lost = &mut self.brokers[broker].lost[*partition];
            if lost.is_some_and(|since| since < found_by) {
                *lost = None;
            }
        }
    }

    /// Whether a broker may count on the role that it has, leader or follower: it has been heard of, or nobody else could lead.
    pub fn may_serve(&self, broker: usize, partition: usize) -> bool {
        let at = &self.brokers[broker];
        let Some(process) = &at.process else { return false };
        process.partition(partition).replicas.len() == 1 || process.lease.holds(at.clock_us(self.now_us))
    }

    /// Whether somebody else may lead what this broker believes to lead, since it was fenced for its silence.
    ///
    /// Who believes to have the only replica serves without a lease. Others get into the ISR only through that leader, who
    /// knows of them then; that an unclean election does not wait for it is known, and let pass here.
    pub fn is_silenced(&self, broker: usize, partition: usize) -> bool {
        let process = self.brokers[broker].process.as_ref().expect("it serves");
        let others = process.partition(partition).replicas.len() > 1;
        others && self.controller.silenced.contains(&BrokerId(broker as i32))
    }

    /// Whether this replica's disk is known to lack something, or will be when its broker is back.
    pub fn has_lost(&self, id: BrokerId, partition: usize) -> bool {
        self.brokers[id.0 as usize].lost[partition].is_some()
    }
}

impl World {
    /// A broker does nothing more with a partition that is elsewhere now.
    pub fn let_go(&mut self, broker: usize, partition: usize) {
        self.leave(broker, partition);
        let at = &mut self.brokers[broker];
        if at.disk[partition].is_empty() {
            return;
        }
        at.disk[partition].wipe();
        at.checkpoints[partition] = 0;
        self.part_mut(broker, partition).high_watermark = 0;
        self.forgotten(broker, partition);
        self.counts.removed += 1;
        self.note(|| format!("broker {broker} removes partition {partition}"));
    }
}

impl Log {
    /// Nothing is there, and nothing ever was.
    pub fn is_empty(&self) -> bool {
        self.start == 0 && self.end == 0
    }
}
