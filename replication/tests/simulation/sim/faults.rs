//! What goes wrong, how often, and how it is mended.

use super::events::Event;
use super::network::{End, Life, Weather};
use super::random::Random;
use super::world::World;

/// What a seed is like. Seeds differ in which kinds of trouble they have: one kind alone finds what all together drown.
#[derive(Clone, Debug)]
pub struct Mood {
    pub min_insync: i32,
    /// `unclean.leader.election.enable`.
    pub unclean: bool,
    pub lag_time_max_ms: u64,
    pub tick_us: u64,
    pub window_bytes: u32,
    pub poll_us_max: u64,
    pub produce_us_max: u64,
    /// Of so many produces, those with acks=all.
    pub acks_all_percent: u64,
    /// Nothing is produced after the trouble until all are in sync.
    pub idle: bool,
    /// Pause between two troubles, at most.
    trouble_us_max: u64,
    /// How often each kind comes, by its number.
    weights: Vec<u64>,
}

/// What is mended after a while.
#[derive(Clone, Copy, Debug)]
pub enum Trouble {
    Disk { broker: usize },
    Metadata { broker: usize },
}

const KINDS: usize = 21;
/// From here on whole replicas and brokers come and go, which drowns other trouble: many seeds know none of that.
const REASSIGNS: usize = 13;
/// Lost records and disks, and unclean elections: most seeds know no loss, so that what is committed stays.
const RARE: [usize; 3] = [17, 18, 20];

impl Mood {
    pub fn draw(random: &mut Random) -> Mood {
        let all_stay = random.happens(50);
        let weight = |kind| {
            let percent = match kind {
                REASSIGNS.. if all_stay => 0,
                REASSIGNS.. if RARE.contains(&kind) => 20,
                REASSIGNS.. => 35,
                _ => 55,
            };
            if random.happens(percent) { random.between(1, 4) } else { 0 }
        };
        let weights = (0..KINDS).map(weight).collect();
        Mood {
            min_insync: random.between(1, 3) as i32,
            unclean: random.happens(15),
            lag_time_max_ms: random.between(300, 1200),
            tick_us: random.between(100_000, 300_000),
            window_bytes: random.between(2, 20) as u32 * 200,
            poll_us_max: if random.happens(60) { 20_000 } else { 500_000 },
            produce_us_max: if random.happens(50) { 40_000 } else { 120_000 },
            acks_all_percent: random.between(30, 100),
            idle: random.happens(40),
            trouble_us_max: if random.happens(50) { 400_000 } else { 1_200_000 },
            weights,
        }
    }
}

impl World {
    pub fn trouble(&mut self) {
        if self.healed {
            return;
        }
        let total: u64 = self.mood.weights.iter().sum();
        if total > 0 {
            let mut drawn = self.random.below(total);
            let kind = self.mood.weights.iter().position(|weight| {
                let found = drawn < *weight;
                drawn = drawn.saturating_sub(*weight);
                found
            });
            self.cause(kind.expect("it was drawn below the sum"));
        }
        let most = self.mood.trouble_us_max;
        self.within(20_000, most, Event::Trouble);
    }

    fn cause(&mut self, kind: usize) {
        let count = self.brokers.len();
        let one = self.random.index(count);
        let other = (one + 1 + self.random.index(count - 1)) % count;
        self.note(|| format!("trouble {kind} at broker {one} and {other}"));
        match kind {
            0 => self.crash(one, 30_000, 400_000),
            1 => self.crash(one, 500_000, 3_000_000),
            // Several at once, as when the power fails.
            2 => (0..count).for_each(|broker| {
                if self.random.happens(60) {
                    self.crash(broker, 30_000, 2_000_000);
                }
            }),
            3 => {
                self.network.cut.insert((one, other));
                if self.random.happens(60) {
                    self.network.cut.insert((other, one));
                }
            }
            4 => (0..count).filter(|at| *at != one).for_each(|at| {
                self.network.cut.insert((one, at));
                self.network.cut.insert((at, one));
            }),
            5 => {
                // Beats arrive and nothing comes back, or the other way round, or neither.
                let both = self.random.happens(50);
                let to_controller = self.random.happens(50);
                self.network.cut_off.insert((one, to_controller));
                if both {
                    self.network.cut_off.insert((one, !to_controller));
                }
            }
            6 => self.break_connections(|ends| ends.iter().any(|end| end.broker == one)),
            7 => {
                let until_us = self.now_us + self.random.between(50_000, 1_500_000);
                let end = if self.random.happens(50) { End::Leader } else { End::Follower };
                self.network.stall_where(until_us, end, |ends| ends.iter().any(|end| end.broker == one));
            }
            8 => {
                let slow = self.random.between(20_000, 600_000);
                self.brokers[one].sync_us = (slow / 4, slow);
                self.within(200_000, 3_000_000, Event::Mend(Trouble::Disk { broker: one }));
            }
            9 => {
                self.brokers[one].metadata_stands = true;
                self.within(100_000, 2_500_000, Event::Mend(Trouble::Metadata { broker: one }));
            }
            10 => self.controller.elect_preferred(),
            11 => {
                self.network.weather = Weather {
                    delay_us_max: self.random.between(1_000, 200_000),
                    lost_percent: self.random.between(0, 60),
                    repeated_percent: if self.random.happens(50) { 0 } else { 90 },
                    controller_delay_us_max: if self.random.happens(50) { 1_500_000 } else { 200_000 },
                };
            }
            12 => self.network.heal(),
            REASSIGNS | 14 => self.reassign(),
            15 => self.stop(one),
            16 => {
                let times = self.random.between(1, 4);
                self.flap(one, times);
            }
            17 => self.crash_with_loss(one),
            18 => self.wipe(one),
            19 => self.change_controller(),
            _ => self.ask_unclean(),
        }
    }

    pub fn break_connections(&mut self, breaks: impl FnMut(&[Life; 2]) -> bool) {
        for connection in self.network.break_where(breaks) {
            for end in [End::Leader, End::Follower] {
                self.within(100, 600_000, Event::Lost { connection, end });
            }
        }
    }

    pub fn mend(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::Disk { broker } => self.brokers[broker].mend_disk(),
            Trouble::Metadata { broker } => self.brokers[broker].metadata_stands = false,
        }
    }

    /// Nothing goes wrong from here on.
    pub fn heal(&mut self) {
        self.healed = true;
        self.healed_us = Some(self.now_us);
        self.network.heal();
        for broker in 0..self.brokers.len() {
            self.brokers[broker].mend_disk();
            self.brokers[broker].metadata_stands = false;
            if self.brokers[broker].process.is_none() {
                self.within(1_000, 300_000, Event::Start { broker });
            }
        }
    }
}
