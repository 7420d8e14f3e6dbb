//! A thread of producers: when a request is due, who may send, and what has come back.

use std::net::TcpStream;

use crate::load::context::Context;
use crate::load::error::LoadError;
use crate::load::producer::{LATE_NS, Pace, ProducePlan, Producer, ProducerState};
use crate::load::recorder::Recorder;
use crate::load::schedule::Schedule;
use crate::load::socket::{Event, Poller};

/// What a thread of producers leaves.
#[derive(Debug)]
pub(super) struct Produced {
    pub(super) states: Vec<ProducerState>,
    pub(super) recorder: Recorder,
    /// Requests of the measured time, at a fixed rate.
    pub(super) due: u64,
    /// Those of them that this thread itself, and not the broker, made late.
    pub(super) late: u64,
    /// Those of them that were never sent, because the broker was too far behind.
    pub(super) given_up: u64,
}

/// Runs producers over their connections until they are done.
pub(super) fn run(
    context: &Context<'_>,
    plan: ProducePlan,
    producers: Vec<(ProducerState, TcpStream)>,
    recorder: Recorder,
) -> Result<Produced, LoadError> {
    let producers = producers.into_iter().map(|(state, stream)| Producer::new(context, plan, state, stream));
    let producers: Vec<_> = producers.collect();
    let poller = Poller::new()?;
    for (place, producer) in producers.iter().enumerate() {
        poller.add(producer.stream(), place)?;
    }
    let cursor = Cursor::default();
    let mut session = Session { context, plan, producers, poller, recorder, cursor, due: 0, late: 0, given_up: 0 };
    session.run()?;
    let Session { producers, recorder, due, late, given_up, .. } = session;
    let states = producers.into_iter().map(Producer::into_state).collect();
    Ok(Produced { states, recorder, due, late, given_up })
}

/// Whose request is due next at a fixed rate: the producers take turns.
#[derive(Clone, Copy, Debug, Default)]
struct Cursor {
    place: usize,
    round: u64,
    is_at_end: bool,
}

struct Session<'a> {
    context: &'a Context<'a>,
    plan: ProducePlan,
    producers: Vec<Producer<'a>>,
    poller: Poller,
    recorder: Recorder,
    cursor: Cursor,
    due: u64,
    late: u64,
    given_up: u64,
}

impl Session<'_> {
    fn run(&mut self) -> Result<(), LoadError> {
        let mut events: Vec<Event> = Vec::new();
        // Places of producers that can go on without an event.
        let mut eager: Vec<usize> = Vec::new();
        let mut again: Vec<usize> = Vec::new();
        let mut last_check_ns = 0;
        if let Pace::Greatest = self.plan.pace {
            eager.extend(0..self.producers.len());
        }
        loop {
            let now_ns = self.context.clock.now_ns();
            if let Pace::Fixed(schedule) = self.plan.pace {
                self.release(&schedule, now_ns, &mut eager);
            }
            for place in eager.drain(..) {
                if self.producers[place].send(now_ns, &mut self.recorder)? {
                    again.push(place);
                }
            }
            std::mem::swap(&mut eager, &mut again);
            if now_ns >= last_check_ns + Context::check_interval_ns() || self.cursor.is_at_end {
                last_check_ns = now_ns;
                self.context.check()?;
                for producer in &mut self.producers {
                    producer.check_overdue(now_ns)?;
                    self.given_up += producer.give_up_overdue(now_ns, &mut self.recorder);
                }
                self.recorder.share(now_ns);
                if self.producers.iter().all(Producer::is_done) {
                    return Ok(());
                }
            }
            let timeout_ns = if eager.is_empty() { self.wait_ns() } else { 0 };
            self.poller.wait(timeout_ns, &mut events)?;
            for event in &events {
                let producer = &mut self.producers[event.connection];
                if event.readable {
                    producer.receive(event.ends, &mut self.recorder)?;
                }
                if producer.send(self.context.clock.now_ns(), &mut self.recorder)? {
                    eager.push(event.connection);
                }
            }
            if matches!(self.plan.pace, Pace::Greatest) && self.producers.iter().all(Producer::is_done) {
                return Ok(());
            }
        }
    }

    /// Releases what is due, and adds who got something to `eager`.
    fn release(&mut self, schedule: &Schedule, now_ns: u64, eager: &mut Vec<usize>) {
        while !self.cursor.is_at_end {
            let producer = &mut self.producers[self.cursor.place];
            let due_ns = schedule.due_ns(producer.number(), self.cursor.round);
            if due_ns > now_ns {
                return;
            }
            let has_room = producer.has_room();
            if producer.release(due_ns) {
                eager.push(self.cursor.place);
                let is_measured = due_ns >= self.plan.window.start_ns && due_ns < self.plan.window.end_ns;
                self.due += u64::from(is_measured);
                // Without room it is the broker that makes it wait.
                self.late += u64::from(is_measured && has_room && now_ns - due_ns > LATE_NS);
            } else if self.producers.iter().all(Producer::is_closed) {
                self.cursor.is_at_end = true;
                return;
            }
            self.cursor.place += 1;
            if self.cursor.place == self.producers.len() {
                self.cursor = Cursor { place: 0, round: self.cursor.round + 1, is_at_end: false };
            }
        }
    }

    fn wait_ns(&self) -> u64 {
        let longest = Context::check_interval_ns();
        match self.plan.pace {
            Pace::Fixed(schedule) if !self.cursor.is_at_end => {
                let producer = self.producers[self.cursor.place].number();
                let due_ns = schedule.due_ns(producer, self.cursor.round);
                due_ns.saturating_sub(self.context.clock.now_ns()).min(longest)
            }
            _ => longest,
        }
    }
}
