//! One connection that produces.
//!
//! It keeps as many requests in flight as the workload says. Which requests there are is decided outside: at a fixed rate
//! they are *released* one by one when they are due, and wait here while the window is full; at the greatest rate there
//! is always one more. Acknowledged offsets are checked as they come: without an error, once for each batch, and rising by
//! partition. That they are dense over all producers is checked at the end, by [`Acknowledged`].

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpStream};

use crate::load::batch::Marker;
use crate::load::context::{ANSWER_SECONDS_MAX, Context};
use crate::load::error::LoadError;
use crate::load::outbox::Outbox;
use crate::load::placement::{Placement, Target};
use crate::load::produce_answer::{self, PartitionAnswer};
use crate::load::produce_request::put_partition;
use crate::load::recorder::{Recorder, Sample, Window};
use crate::load::schedule::Schedule;
use crate::load::socket::{Filled, Inbox};
use crate::load::workload::Acks;

/// Answers are small; whatever announces more is none.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Sends that are later than this count as late.
pub(super) const LATE_NS: u64 = 1_000_000;

/// What a producer remembers from one phase of a run to the next.
#[derive(Clone, Debug)]
pub(super) struct ProducerState {
    pub(super) number: usize,
    placement: Placement,
    /// By slot.
    pub(super) acknowledged: Vec<Acknowledged>,
}

impl ProducerState {
    pub(super) fn new(number: usize, placement: Placement, slots: usize) -> ProducerState {
        ProducerState { number, placement, acknowledged: vec![Acknowledged::default(); slots] }
    }

    /// The broker that it produces to.
    pub(super) fn broker(&self, context: &Context<'_>) -> SocketAddr {
        context.leaders.address(self.placement.leader)
    }
}

/// What one producer knows of one partition.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Acknowledged {
    /// Batches sent: the next one's sequence.
    pub(super) sent: u64,
    /// Batches acknowledged; those sent, with acks=0.
    pub(super) batches: u64,
    /// The smallest offset that the next acknowledgement may have, relative to where the run began.
    next_offset: i64,
    /// A sum over the offsets, by which several producers together can tell whether each offset was given once.
    pub(super) offsets_sum: u64,
}

impl Acknowledged {
    /// The term that an acknowledged offset, relative to the run's beginning, adds to the sum (splitmix64's finaliser: what
    /// is given twice and what is missing does not cancel out).
    pub(super) fn term(offset: i64) -> u64 {
        let mut mixed = (offset as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// When requests are made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pace {
    /// As fast as answers come.
    Greatest,
    Fixed(Schedule),
}

/// What the producers do in one phase of a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct ProducePlan {
    pub(super) pace: Pace,
    /// No request begins at or after this time.
    pub(super) end_ns: u64,
    /// At a fixed rate: what is due and not sent by then never is.
    pub(super) give_up_ns: u64,
    /// Requests that begin in the measured time, at most, over all producers.
    pub(super) requests_max: Option<u64>,
    pub(super) window: Window,
}

impl ProducePlan {
    /// One producer's part of `requests_max`.
    fn share(&self, producer: usize, producers: usize) -> u64 {
        let (producer, producers) = (producer as u64, producers as u64);
        self.requests_max.map_or(u64::MAX, |max| max / producers + u64::from(producer < max % producers))
    }
}

#[derive(Clone, Copy, Debug)]
struct InFlight {
    correlation_id: i32,
    target: Target,
    /// Where its latency begins.
    begin_ns: u64,
    handed_over_ns: u64,
}

/// One connection that produces.
#[derive(Debug)]
pub(super) struct Producer<'a> {
    context: &'a Context<'a>,
    plan: ProducePlan,
    state: ProducerState,
    stream: TcpStream,
    inbox: Inbox,
    outbox: Outbox,
    in_flight: VecDeque<InFlight>,
    next_correlation_id: i32,
    /// Requests that the schedule released, and those of them that were sent or given up.
    released: u64,
    sent: u64,
    /// Requests of the measured time that may still be made.
    share_left: u64,
    /// No request will be added.
    is_closed: bool,
}

impl<'a> Producer<'a> {
    pub(super) fn new(
        context: &'a Context<'a>,
        plan: ProducePlan,
        state: ProducerState,
        stream: TcpStream,
    ) -> Producer<'a> {
        let share_left = plan.share(state.number, context.workload.producers);
        Producer {
            context,
            plan,
            state,
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::new(context.template.tail().clone()),
            in_flight: VecDeque::with_capacity(context.workload.in_flight.min(1024)),
            next_correlation_id: 0,
            released: 0,
            sent: 0,
            share_left,
            is_closed: false,
        }
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn number(&self) -> usize {
        self.state.number
    }

    pub(super) fn into_state(self) -> ProducerState {
        self.state
    }

    /// Everything is sent and acknowledged, and nothing will follow.
    pub(super) fn is_done(&self) -> bool {
        self.is_closed && self.released == self.sent && self.in_flight.is_empty() && self.outbox.is_empty()
    }

    /// Whether a request released now could be sent now.
    pub(super) fn has_room(&self) -> bool {
        self.in_flight.len() as u64 + (self.released - self.sent) < self.context.workload.in_flight as u64
            && self.outbox.is_empty()
    }

    /// Adds the request that is due at `due_ns`; false if there is to be none any more.
    pub(super) fn release(&mut self, due_ns: u64) -> bool {
        if self.is_closed || !self.take_share(due_ns) {
            self.is_closed = true;
            return false;
        }
        self.released += 1;
        true
    }

    /// No request will be added.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed
    }

    /// Gives up what is due and not sent if it is too late for it, and says how much of the measured time that is. Its
    /// latencies count as what they are until now: they would be longer.
    pub(super) fn give_up_overdue(&mut self, now_ns: u64, recorder: &mut Recorder) -> u64 {
        let Pace::Fixed(schedule) = self.plan.pace else { return 0 };
        let timed = self.context.workload.acks != Acks::None;
        let mut measured = 0;
        while now_ns >= self.plan.give_up_ns && self.sent < self.released {
            let begin_ns = schedule.due_ns(self.state.number, self.sent);
            let end_ns = now_ns;
            recorder.record(&Sample { begin_ns, end_ns, requests: 0, batches: 0, records: 0, bytes: 0, timed });
            measured += u64::from(begin_ns >= self.plan.window.start_ns);
            self.sent += 1;
        }
        measured
    }

    fn take_share(&mut self, begin_ns: u64) -> bool {
        if begin_ns >= self.plan.end_ns || self.share_left == 0 {
            return false;
        }
        if begin_ns >= self.plan.window.start_ns {
            self.share_left -= 1;
        }
        true
    }

    /// Makes what requests there may be and writes what the socket takes. True: more could be done at once.
    pub(super) fn send(&mut self, now_ns: u64, recorder: &mut Recorder) -> Result<bool, LoadError> {
        let (in_flight_max, acks) = (self.context.workload.in_flight, self.context.workload.acks);
        let is_unacknowledged = acks == Acks::None;
        // Without acknowledgements it is the socket that says when it is enough.
        if is_unacknowledged && !self.flush()? {
            return Ok(false);
        }
        let mut made = 0;
        while if is_unacknowledged { made < in_flight_max } else { self.in_flight.len() < in_flight_max } {
            let begin_ns = match self.plan.pace {
                Pace::Fixed(_) if self.sent == self.released => break,
                Pace::Fixed(schedule) => schedule.due_ns(self.state.number, self.sent),
                Pace::Greatest => {
                    if !self.release(now_ns) {
                        break;
                    }
                    now_ns
                }
            };
            self.sent += 1;
            self.make_request(begin_ns, now_ns, recorder);
            made += 1;
        }
        Ok(self.flush()? && is_unacknowledged && made == in_flight_max)
    }

    fn flush(&mut self) -> Result<bool, LoadError> {
        let flushed = if self.outbox.is_empty() { Ok(true) } else { self.outbox.flush(&self.stream) };
        flushed.map_err(|source| self.io_error("sending", source))
    }

    fn make_request(&mut self, begin_ns: u64, now_ns: u64, recorder: &mut Recorder) {
        let Producer { context, state, outbox, .. } = self;
        let (workload, template) = (context.workload, &context.template);
        let target = state.placement.next();
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let timestamp_ms = context.clock.unix_ms(begin_ns);
        let topic = state.placement.topic(target);
        context.requests[topic].begin(outbox, correlation_id);
        for partition in state.placement.partitions(target) {
            let acknowledged = &mut state.acknowledged[context.slot(topic, partition)];
            let producer = state.number as u32;
            let marker = Marker { run: context.run, producer, sequence: acknowledged.sent, sent_ns: begin_ns };
            acknowledged.sent += 1;
            put_partition(outbox, partition, template, |out| template.write_head(out, &marker, timestamp_ms));
            if workload.acks == Acks::None {
                acknowledged.batches += 1;
            }
        }
        if workload.acks == Acks::None {
            recorder.record(&self.sample(begin_ns, now_ns, false));
        } else {
            self.in_flight.push_back(InFlight { correlation_id, target, begin_ns, handed_over_ns: now_ns });
        }
    }

    fn sample(&self, begin_ns: u64, end_ns: u64, timed: bool) -> Sample {
        let (workload, template) = (self.context.workload, &self.context.template);
        let batches = workload.partitions_per_request as u64;
        let records = batches * u64::from(template.records());
        Sample { begin_ns, end_ns, requests: 1, batches, records, bytes: batches * template.size_bytes() as u64, timed }
    }

    /// Takes what answers have come. `ends`: so does the connection.
    pub(super) fn receive(&mut self, ends: bool, recorder: &mut Recorder) -> Result<(), LoadError> {
        if ends {
            self.inbox.expect_end();
        }
        loop {
            let filled = self.inbox.fill(&self.stream).map_err(|source| self.io_error("receiving", source))?;
            let now_ns = self.context.clock.now_ns();
            while let Some(range) = self.inbox.next_frame(ANSWER_BYTES_MAX).map_err(|large| LoadError::AnswerSize {
                broker: self.broker(),
                connection: self.name(),
                expected: ANSWER_BYTES_MAX,
                found: large.size,
            })? {
                self.take_answer(range, now_ns, recorder)?;
            }
            match filled {
                Filled::All => return Ok(()),
                Filled::Some => {}
                Filled::End if self.is_done() => return Ok(()),
                Filled::End => {
                    return Err(LoadError::Closed { broker: self.broker(), connection: self.name() });
                }
            }
        }
    }

    fn take_answer(
        &mut self,
        range: std::ops::Range<usize>,
        now_ns: u64,
        recorder: &mut Recorder,
    ) -> Result<(), LoadError> {
        let broker = self.broker();
        let frame = self.inbox.bytes(range);
        let malformed = |source| {
            let connection = name(self.state.number);
            LoadError::Malformed { broker, connection, source }
        };
        let found = produce_answer::correlation_id(frame).map_err(malformed)?;
        let Some(request) = self.in_flight.pop_front() else {
            return Err(LoadError::Unasked { broker: self.broker(), connection: self.name() });
        };
        if found != request.correlation_id {
            let (connection, expected) = (self.name(), request.correlation_id);
            return Err(LoadError::Correlation { broker: self.broker(), connection, expected, found });
        }
        let mut answered = 0;
        let (context, state) = (self.context, &mut self.state);
        let number = state.number;
        let read = produce_answer::read(frame, |answer| {
            answered += 1;
            take_partition(context, state, request.target, &answer).map_err(AnswerError::Load)
        });
        match read {
            Ok(()) => {}
            Err(AnswerError::Load(error)) => return Err(*error),
            Err(AnswerError::Malformed(source)) => {
                return Err(LoadError::Malformed { broker: self.broker(), connection: name(number), source });
            }
        }
        let expected = context.workload.partitions_per_request;
        if answered != expected {
            return Err(LoadError::PartitionCount { connection: self.name(), expected, found: answered });
        }
        recorder.record(&self.sample(request.begin_ns, now_ns, true));
        Ok(())
    }

    /// `Err` if an answer is long overdue.
    pub(super) fn check_overdue(&self, now_ns: u64) -> Result<(), LoadError> {
        let seconds = ANSWER_SECONDS_MAX;
        match self.in_flight.front() {
            Some(oldest) if now_ns.saturating_sub(oldest.handed_over_ns) > seconds * 1_000_000_000 => {
                Err(LoadError::NoAnswer { broker: self.broker(), connection: self.name(), seconds })
            }
            _ => Ok(()),
        }
    }

    fn io_error(&self, action: &'static str, source: std::io::Error) -> LoadError {
        LoadError::Io { broker: self.broker(), connection: self.name(), action, source }
    }

    fn broker(&self) -> SocketAddr {
        self.state.broker(self.context)
    }

    fn name(&self) -> String {
        name(self.state.number)
    }
}

/// What a producer's connection is called in errors.
pub(super) fn name(number: usize) -> String {
    format!("producer {number}")
}

enum AnswerError {
    Malformed(crate::load::wire::Malformed),
    Load(Box<LoadError>),
}

impl From<crate::load::wire::Malformed> for AnswerError {
    fn from(malformed: crate::load::wire::Malformed) -> AnswerError {
        AnswerError::Malformed(malformed)
    }
}

/// Checks and counts what an answer says of one partition.
fn take_partition(
    context: &Context<'_>,
    state: &mut ProducerState,
    target: Target,
    answer: &PartitionAnswer<'_>,
) -> Result<(), Box<LoadError>> {
    let workload = context.workload;
    let topic_number = state.placement.topic(target);
    let topic = &context.topics[topic_number].name;
    let connection = || name(state.number);
    if answer.topic != topic.as_bytes() {
        return Err(Box::new(LoadError::NotAsked { connection: connection() }));
    }
    let partition = answer.partition;
    if !state.placement.is_in(partition, target) {
        let expected = state.placement.partitions(target).collect();
        let (connection, topic) = (connection(), topic.clone());
        return Err(Box::new(LoadError::OtherPartition { connection, topic, expected, found: partition }));
    }
    if answer.error_code != 0 {
        return Err(Box::new(LoadError::Refused {
            request: "Produce",
            connection: connection(),
            topic: topic.clone(),
            partition,
            code: answer.error_code,
            message: String::from_utf8_lossy(answer.error_message).into_owned(),
        }));
    }
    let slot = context.slot(topic_number, partition);
    let start = context.start_offsets[slot];
    let relative = answer.base_offset.wrapping_sub(start);
    let acknowledged = &mut state.acknowledged[slot];
    // A lone producer knows to the record where its batches have to be.
    let is_right = if workload.producers == 1 {
        relative == acknowledged.next_offset
    } else {
        relative >= acknowledged.next_offset
    };
    if !is_right {
        let (expected, found) = (start + acknowledged.next_offset, answer.base_offset);
        let (connection, topic) = (name(state.number), topic.clone());
        return Err(Box::new(LoadError::AcknowledgedBack { connection, topic, partition, expected, found }));
    }
    acknowledged.next_offset = relative.saturating_add(i64::from(context.template.records()));
    acknowledged.batches += 1;
    acknowledged.offsets_sum = acknowledged.offsets_sum.wrapping_add(Acknowledged::term(relative));
    Ok(())
}
