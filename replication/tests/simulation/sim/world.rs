//! What there is, what happens when, and the run of a seed from its begin to its verdict.

use super::bug::Bug;
use super::checks::elected::{self, Loss};
use super::checks::led::Led;
use super::checks::{Checked, Checker, Checks, Election, longest, reassigned};
use super::controller::{Controller, partition_of};
use super::electing::Asked;
use super::events::{Event, Scheduled};
use super::faults::Mood;
use super::network::{Life, Network};
use super::random::Random;
use super::report::{Counts, Report};
use super::shell::Broker;
use metadata::image::PartitionImage;
use protocol::newtypes::BrokerId;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How long there is trouble.
const TROUBLE_US: u64 = 8_000_000;

/// What a seed is run with.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// A mistake that is built in.
    pub bug: Option<Bug>,
    /// What the other checkers find is let pass: to see what this one finds of a mistake.
    pub only: Option<Checker>,
    /// Says on stderr what happens.
    pub trace: bool,
}

pub struct World {
    pub now_us: u64,
    pub random: Random,
    options: Options,
    queue: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
    pub network: Network,
    pub controller: Controller,
    pub brokers: Vec<Broker>,
    pub partitions: usize,
    /// By partition.
    pub checks: Vec<Checks>,
    /// Elections that wait for answers.
    pub asked: Vec<Asked>,
    pub next_asked: u64,
    pub led: Led,
    pub counts: Counts,
    pub mood: Mood,
    pub violation: Option<(Checker, String)>,
    pub healed: bool,
    /// Since when.
    pub healed_us: Option<u64>,
    pub quiet: bool,
    pub next_batch: u32,
    pub next_request: u64,
    /// Records that each producer has produced.
    pub produced: Vec<u64>,
    checked_version: usize,
    isr_changes: usize,
    cuts: u64,
    events: u64,
    digest: u64,
}

impl World {
    fn new(seed: u64, options: Options) -> World {
        let mut random = Random::new(seed);
        let count = random.between(3, 5) as usize;
        let partitions = random.between(1, 2) as usize;
        let replicas: Vec<Vec<usize>> = (0..partitions)
            .map(|partition| {
                let factor = random.between(3.min(count as u64), 4.min(count as u64)) as usize;
                (0..factor).map(|at| (partition + at) % count).collect()
            })
            .collect();
        let mood = Mood::draw(&mut random);
        let controller = Controller::new(count, &replicas, mood.min_insync, mood.unclean, options.bug);
        let brokers = (0..count).map(|_| Broker::new(partitions, &mut random)).collect();
        World {
            now_us: 0,
            random,
            options,
            queue: BinaryHeap::new(),
            scheduled: 0,
            network: Network::new(),
            controller,
            brokers,
            partitions,
            checks: replicas.iter().map(|_| Checks::default()).collect(),
            asked: Vec::new(),
            next_asked: 0,
            led: Led::new(partitions),
            counts: Counts::default(),
            mood,
            violation: None,
            healed: false,
            healed_us: None,
            quiet: false,
            next_batch: 0,
            next_request: 0,
            produced: vec![0; 3],
            checked_version: 0,
            isr_changes: 0,
            cuts: 0,
            events: 0,
            digest: 0,
        }
    }

    pub fn has(&self, bug: Bug) -> bool {
        self.options.bug == Some(bug)
    }

    pub fn after(&mut self, us: u64, event: Event) {
        self.at(self.now_us + us, event);
    }

    pub fn at(&mut self, at_us: u64, event: Event) {
        self.scheduled += 1;
        self.queue.push(Reverse(Scheduled { at_us, number: self.scheduled, event }));
    }

    /// After between so many microseconds.
    pub fn within(&mut self, least: u64, most: u64, event: Event) {
        let us = self.random.between(least, most);
        self.after(us, event);
    }

    /// The first thing that is wrong is what the run is stopped for.
    pub fn check(&mut self, checked: Checked) {
        if let Err(violation) = checked
            && self.violation.is_none()
            && self.options.only.is_none_or(|only| only == violation.0)
        {
            self.note(|| format!("VIOLATION {violation:?}"));
            self.violation = Some(violation);
        }
    }

    pub fn note(&self, text: impl FnOnce() -> String) {
        if self.options.trace {
            eprintln!("{:>9.3} ms  {}", self.now_us as f64 / 1000.0, text());
        }
    }

    pub fn count_cut(&mut self) {
        self.cuts += 1;
    }

    pub fn is_alive(&self, life: Life) -> bool {
        self.brokers[life.broker].process.as_ref().is_some_and(|process| process.number == life.number)
    }

    /// Runs until then, or until something is wrong.
    pub fn run_until(&mut self, until_us: u64) {
        while self.violation.is_none() {
            match self.queue.peek() {
                Some(Reverse(next)) if next.at_us <= until_us => {}
                _ => break,
            }
            let Reverse(Scheduled { at_us, number, event }) = self.queue.pop().expect("one was seen");
            self.now_us = at_us;
            self.events += 1;
            self.digest = (self.digest ^ at_us ^ (number << 32)).wrapping_mul(0x0100_0000_01B3).rotate_left(17);
            self.happen(event);
            self.look_at_metadata();
        }
        self.now_us = until_us.max(self.now_us);
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Deliver { connection, from, frame } => self.deliver(connection, from, frame),
            Event::Lost { connection, end } => self.on_lost(connection, end),
            Event::Synced { life, partition, cuts, end } if self.is_alive(life) => {
                self.on_synced(life.broker, partition, cuts, end);
            }
            Event::CutDone { life, partition, cut } if self.is_alive(life) => {
                self.on_cut_done(life.broker, partition, cut);
            }
            Event::Tick { life } if self.is_alive(life) => self.on_tick(life),
            Event::Poll { life } if self.is_alive(life) => self.on_poll(life),
            Event::Beat { life } if self.is_alive(life) => self.on_beat(life),
            Event::Open { life, partition } if self.is_alive(life) => self.open_streams(life.broker, partition),
            Event::Asked { life, request } => self.on_asked(life, request),
            Event::Answered { life, answer } if self.is_alive(life) => self.on_answer(life, answer),
            Event::Unanswered { life, partition, number } if self.is_alive(life) => {
                self.on_unanswered(life.broker, partition, number);
            }
            Event::Sessions => self.look_at_sessions(),
            Event::AskedForLogs { broker, number, partitions } => self.on_asked_for_logs(broker, number, &partitions),
            Event::ToldOfLogs { broker, number, ends } => self.on_told_of_logs(broker, number, ends),
            Event::ElectionDue { number } => self.on_election_due(number),
            Event::Produce { producer } => self.produce(producer),
            Event::Read => self.read(),
            Event::Delete => self.delete(),
            Event::Trouble => self.trouble(),
            Event::Mend(trouble) => self.mend(trouble),
            Event::Start { broker } => self.start(broker),
            Event::Flap { broker, times } => self.flap(broker, times),
            Event::Stopped { life } if self.is_alive(life) => self.on_stopped(life),
            Event::Operate => self.operate(),
            _ => {}
        }
    }

    /// What the controller has decided since it was looked at last.
    fn look_at_metadata(&mut self) {
        while self.checked_version < self.controller.version() {
            let (before, now) = (self.checked_version, self.checked_version + 1);
            self.checked_version = now;
            for partition in 0..self.partitions {
                let before = partition_of(self.controller.at(before), partition).clone();
                let state = partition_of(self.controller.at(now), partition).clone();
                let image = self.controller.at(now);
                let checked = self.checks[partition].epochs.on_image(image, &before, &state);
                self.check(checked);
                if before == state {
                    continue;
                }
                self.note(|| format!("controller: partition {partition} is {state:?}"));
                self.isr_changes += 1;
                self.counts.reassigned += u64::from(before.replicas != state.replicas && state.reassignment.is_none());
                self.look_at_election(now, partition, &before, &state);
                if self.checks[partition].loss.is_none() {
                    let checked = self.check_isr(partition, &state, true);
                    self.check(checked);
                }
            }
        }
    }

    fn look_at_election(&mut self, version: usize, partition: usize, before: &PartitionImage, now: &PartitionImage) {
        let (image, cause) = (self.controller.at(version), self.controller.cause(version));
        let election = Election { image, cause, partition, before, now };
        self.counts.by_log += u64::from(election.is_by_log());
        let checked = [reassigned::check(before, now), longest::check(&election)];
        let elected = elected::check(&election);
        checked.into_iter().for_each(|checked| self.check(checked));
        match elected {
            Ok(None) => {}
            Ok(Some(loss)) => {
                self.note(|| format!("what is committed may be lost: {loss:?}"));
                self.counts.last_known += u64::from(loss == Loss::LastKnown);
                // When it begins to lead it will be seen what.
                self.checks[partition].loss.get_or_insert(now.leader_epoch.0);
            }
            Err(violation) => self.check(Err(violation)),
        }
        if let Some(leader) = now.leader {
            self.checks[partition].same_disk.on_elected(now.leader_epoch.0, leader.0 as usize);
        }
    }

    /// Whether those who may lead have all that is committed, but for those of which nobody can know yet that they do not.
    pub fn check_isr(&self, partition: usize, state: &PartitionImage, fully: bool) -> Checked {
        let logs = |broker: i32| &self.brokers[broker as usize].disk[partition];
        let excused = |broker: BrokerId| self.has_lost(broker, partition);
        self.checks[partition].on_isr(state, logs, excused, fully)
    }

    fn report(self, seed: u64) -> Report {
        Report {
            seed,
            events: self.events,
            acknowledged: self.checks.iter().map(|checks| checks.acknowledged.count()).sum(),
            read: self.checks.iter().map(|checks| checks.readable.count()).sum(),
            elections: (0..self.partitions).map(|at| self.controller.partition(at).leader_epoch.0).sum(),
            isr_changes: self.isr_changes,
            restarts: self.brokers.iter().map(|broker| broker.lives - 1).sum(),
            cuts: self.cuts,
            counts: self.counts,
            losses: self.checks.iter().map(|checks| checks.losses).sum(),
            elapsed_us: self.now_us,
            digest: self.digest,
            violation: self.violation,
        }
    }
}

/// Runs a seed.
pub fn run(seed: u64, options: Options) -> Report {
    let mut world = World::new(seed, options);
    world.checked_version = world.controller.version();
    for broker in 0..world.brokers.len() {
        world.within(0, 100_000, Event::Start { broker });
    }
    for producer in 0..world.produced.len() {
        world.within(0, 300_000, Event::Produce { producer });
    }
    world.after(300_000, Event::Read);
    world.after(500_000, Event::Delete);
    world.after(100_000, Event::Sessions);
    world.after(400_000, Event::Operate);
    world.after(700_000, Event::Trouble);
    world.run_until(TROUBLE_US);
    world.settle();
    world.report(seed)
}
