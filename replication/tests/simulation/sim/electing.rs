//! Elections by log: before somebody is elected the candidates are asked how their logs end, and those that have not answered
//! within a short time are elected without (or not at all).

use super::bug::Bug;
use super::checks::led;
use super::controller::{Request, TOPIC};
use super::events::Event;
use super::network::Life;
use super::world::World;
use metadata::controller::{
    LogEnd, LogEnds, Questions, Wish, questions_leaderless, questions_unclean, questions_without,
};
use protocol::newtypes::{BrokerId, LeaderEpoch, PartitionId};
use replication::divergence::LogView;
use std::collections::BTreeSet;

/// How long candidates are waited for.
const WAIT_US: u64 = 150_000;
/// Between two looks at who is silent.
pub const LOOK_US: u64 = 100_000;

/// What is done once the answers are there, or their time is over.
#[derive(Clone, Debug)]
pub enum Purpose {
    Fence(BrokerId),
    /// A broker's request because of which it leads no more.
    Answer(Life, Request),
    /// Somebody who need not have all that is committed leads where nobody does.
    Unclean {
        asked_for: bool,
    },
}

/// Candidates that have been asked, and what they have said.
pub struct Asked {
    number: u64,
    purpose: Purpose,
    missing: BTreeSet<usize>,
    ends: LogEnds,
}

impl World {
    /// The controller looks at who is silent, and whether somebody is to lead uncleanly.
    pub fn look_at_sessions(&mut self) {
        self.after(LOOK_US, Event::Sessions);
        for silent in self.controller.silent(self.now_us) {
            let is_asked = |asked: &Asked| matches!(asked.purpose, Purpose::Fence(broker) if broker == silent);
            if !self.asked.iter().any(is_asked) {
                let questions = questions_without(self.controller.image(), silent);
                self.ask_for_logs(Purpose::Fence(silent), questions);
            }
        }
        let is_unclean = |asked: &Asked| matches!(asked.purpose, Purpose::Unclean { .. });
        if self.leaderless().next().is_some() && !self.asked.iter().any(is_unclean) {
            let questions = questions_unclean(self.controller.image(), &self.controller.config());
            self.ask_for_logs(Purpose::Unclean { asked_for: false }, questions);
        }
        if self.has(Bug::ElectOutsideIsr) {
            self.controller.elect_anybody();
        }
        let checked = led::check(self);
        self.check(checked);
    }

    /// Partitions that nobody leads.
    pub fn leaderless(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.partitions).filter(|partition| self.controller.partition(*partition).leader.is_none())
    }

    /// Somebody asks for unclean elections.
    pub fn ask_unclean(&mut self) {
        if self.leaderless().next().is_some() {
            let questions = questions_leaderless(self.controller.image());
            self.ask_for_logs(Purpose::Unclean { asked_for: true }, questions);
        }
    }

    /// A request has arrived at the controller.
    pub fn on_asked(&mut self, life: Life, request: Request) {
        let id = BrokerId(life.broker as i32);
        let leads_no_more = match request {
            Request::Register { .. } => true,
            Request::Beat { wish: Wish::Fenced, .. } => self.controller.image().is_unfenced(id),
            _ => false,
        };
        let questions = if leads_no_more { questions_without(self.controller.image(), id) } else { Questions::new() };
        self.ask_for_logs(Purpose::Answer(life, request), questions);
    }

    fn ask_for_logs(&mut self, purpose: Purpose, questions: Questions) {
        self.next_asked += 1;
        let number = self.next_asked;
        let missing = questions.keys().map(|broker| broker.0 as usize).collect();
        for (broker, partitions) in questions {
            let partitions = partitions.into_iter().map(|(_, partition)| partition.0 as usize).collect();
            self.travels_from_controller(
                broker.0 as usize,
                Event::AskedForLogs { broker: broker.0 as usize, number, partitions },
            );
        }
        let asked = Asked { number, purpose, missing, ends: LogEnds::default() };
        if asked.missing.is_empty() {
            return self.conclude(asked);
        }
        self.asked.push(asked);
        self.after(WAIT_US, Event::ElectionDue { number });
    }

    /// A broker is asked how its logs end.
    pub fn on_asked_for_logs(&mut self, broker: usize, number: u64, partitions: &[usize]) {
        let Some(process) = &self.brokers[broker].process else { return };
        if !process.started {
            return;
        }
        let end_of = |partition: &usize| {
            let log = &self.brokers[broker].disk[*partition];
            let epoch = log.batches().next_back().map_or(LeaderEpoch::UNKNOWN, |batch| LeaderEpoch(batch.epoch));
            (*partition, LogEnd { epoch, end: log.log_end() })
        };
        let ends = partitions.iter().map(end_of).collect();
        self.travels_to_controller(broker, Event::ToldOfLogs { broker, number, ends });
    }

    pub fn on_told_of_logs(&mut self, broker: usize, number: u64, ends: Vec<(usize, LogEnd)>) {
        let Some(at) = self.asked.iter().position(|asked| asked.number == number) else { return };
        let asked = &mut self.asked[at];
        for (partition, end) in ends {
            asked.ends.insert((TOPIC, PartitionId(partition as i32)), BrokerId(broker as i32), end);
        }
        asked.missing.remove(&broker);
        if asked.missing.is_empty() {
            let asked = self.asked.remove(at);
            self.conclude(asked);
        }
    }

    /// Nobody is waited for any longer.
    pub fn on_election_due(&mut self, number: u64) {
        if self.has(Bug::WaitForSilentReplica) {
            return;
        }
        if let Some(at) = self.asked.iter().position(|asked| asked.number == number) {
            let asked = self.asked.remove(at);
            self.conclude(asked);
        }
    }

    fn conclude(&mut self, asked: Asked) {
        let Asked { purpose, ends, .. } = asked;
        self.note(|| format!("controller: {purpose:?} with {ends:?}"));
        match purpose {
            Purpose::Fence(broker) => {
                // It may have been heard meanwhile.
                if self.controller.silent(self.now_us).contains(&broker) {
                    self.controller.fence_silent(broker, &ends);
                }
            }
            Purpose::Unclean { asked_for } => self.controller.elect_unclean(asked_for, &ends),
            Purpose::Answer(life, request) => self.answer(life, &request, &ends),
        }
    }

    fn answer(&mut self, life: Life, request: &Request, ends: &LogEnds) {
        let answer = self.controller.on_request(life.broker, request, ends, self.now_us);
        self.note(|| format!("controller: {life:?} asks {request:?}, answered {answer:?}"));
        if let (Request::Lost { life: found_by, partitions, .. }, Some(_)) = (request, answer) {
            self.on_loss_noted(life.broker, *found_by, partitions);
        }
        if let Some(answer) = answer {
            self.travels_from_controller(life.broker, Event::Answered { life, answer });
        }
    }

    fn travels_from_controller(&mut self, broker: usize, event: Event) {
        let weather = self.network.weather;
        let lost = self.random.happens(weather.lost_percent) || self.network.cut_off.contains(&(broker, false));
        if !lost {
            self.within(300, weather.controller_delay_us_max, event);
        }
    }

    fn travels_to_controller(&mut self, broker: usize, event: Event) {
        let weather = self.network.weather;
        let lost = self.random.happens(weather.lost_percent) || self.network.cut_off.contains(&(broker, true));
        if !lost {
            self.within(300, weather.controller_delay_us_max, event);
        }
    }

    /// Another controller leads, and whatever was asked is forgotten.
    pub fn change_controller(&mut self) {
        self.asked.clear();
        self.controller.begin_anew(self.now_us);
        self.led.begin_anew();
    }
}
