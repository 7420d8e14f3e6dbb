//! One connection that consumes, for one group: one Fetch at a time for all partitions that are its own.
//!
//! Everything that comes is verified before the next Fetch goes out. With a fetch session (KIP-227) a Fetch names only the
//! partitions whose offsets have moved.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpStream};
use std::ops::Range;

use protocol::record_batch::BatchHeader;

use crate::load::context::{ANSWER_SECONDS_MAX, Context, Slot};
use crate::load::error::LoadError;
use crate::load::fetch_answer::{self, PartitionAnswer};
use crate::load::fetch_request::{self, FetchFrom, Session};
use crate::load::outbox::Outbox;
use crate::load::produce_answer::correlation_id;
use crate::load::recorder::{Recorder, Sample};
use crate::load::socket::{Filled, Inbox};
use crate::load::verify::{Expected, Fault, PartitionCheck};
use crate::load::wire::Malformed;

/// By how much an answer may be larger than the workload's `fetch_max_bytes`: a batch that alone is larger is sent whole,
/// and there is something around the batches.
const ANSWER_BYTES_SLACK: usize = 256 << 20;
/// Bytes before and in the length field of a batch.
const BATCH_LENGTH_END: usize = 12;

/// A group of consumers.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) name: String,
    /// Whether it begins at the tail; then how old batches are on arrival means something.
    pub(super) is_at_tail: bool,
}

/// Where a group's samples go.
#[derive(Debug)]
pub(super) struct GroupRecorders {
    pub(super) fetch: Recorder,
    /// Of a group at the tail.
    pub(super) end_to_end: Option<Recorder>,
}

/// A partition that the connection reads.
#[derive(Clone, Debug)]
struct Followed {
    slot: Slot,
    check: PartitionCheck,
    /// Whether the next Fetch has to name it.
    is_changed: bool,
}

/// Which connection of a run it is.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The number of its group.
    pub(super) group: usize,
    pub(super) group_name: String,
    /// The consumer's number in its group.
    pub(super) member: usize,
    /// The broker that it reads from.
    pub(super) broker: SocketAddr,
}

/// What consumer `member` of a group reads from a broker, in order: every `consumers_per_group`-th slot is its own.
pub(super) fn slots(context: &Context<'_>, member: usize, leader: usize) -> Vec<Slot> {
    let own = (member..context.workload.partitions_total()).step_by(context.workload.consumers_per_group);
    own.filter(|slot| context.leaders.of(*slot) == leader).collect()
}

/// One connection that consumes.
#[derive(Debug)]
pub(super) struct Consumer<'a> {
    context: &'a Context<'a>,
    place: Place,
    stream: TcpStream,
    inbox: Inbox,
    outbox: Outbox,
    /// In order of their slots.
    followed: Vec<Followed>,
    /// By the topic's name or id as answers have it.
    topics: HashMap<Vec<u8>, usize>,
    session: Session,
    next_correlation_id: i32,
    in_flight: Option<(i32, u64)>,
    partitions: Vec<FetchFrom>,
    /// When records came last.
    last_records_ns: u64,
    pub(super) records: u64,
}

impl<'a> Consumer<'a> {
    /// A connection that reads `slots`; `check` is where the group begins to read one.
    pub(super) fn new(
        context: &'a Context<'a>,
        place: Place,
        slots: &[Slot],
        stream: TcpStream,
        check: impl Fn(Slot) -> PartitionCheck,
    ) -> Consumer<'a> {
        let workload = context.workload;
        let follow = |slot: &Slot| Followed { slot: *slot, check: check(*slot), is_changed: true };
        let followed = slots.iter().map(follow).collect();
        let topics = context.topics.iter().enumerate();
        Consumer {
            context,
            place,
            stream,
            inbox: Inbox::default(),
            outbox: Outbox::new(context.template.tail().clone()),
            followed,
            topics: topics.map(|(number, topic)| (topic.wire(context.fetch_version).to_vec(), number)).collect(),
            session: if workload.fetch_sessions { Session::NEW } else { Session::NONE },
            next_correlation_id: 0,
            in_flight: None,
            partitions: Vec::new(),
            last_records_ns: context.clock.now_ns(),
            records: 0,
        }
    }

    /// The number of its group.
    pub(super) fn group(&self) -> usize {
        self.place.group
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Whether all that is to be read, up to the `targets` by slot, is read. More must not be there.
    pub(super) fn is_through(&self, targets: &[i64]) -> Result<bool, LoadError> {
        for followed in &self.followed {
            let (expected, found) = (targets[followed.slot], followed.check.next_offset());
            if found > expected {
                let (topic, partition) = self.context.place(followed.slot);
                return Err(LoadError::EndOffset { topic, partition, by: "acknowledged", expected, found });
            }
            if found < expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Begins again; `check` as when it was made.
    pub(super) fn rewind(&mut self, check: impl Fn(Slot) -> PartitionCheck) {
        for followed in &mut self.followed {
            followed.check = check(followed.slot);
            followed.is_changed = true;
        }
    }

    /// Sends the next Fetch unless one is in flight, and what is left of one.
    pub(super) fn send(&mut self, now_ns: u64) -> Result<(), LoadError> {
        if self.in_flight.is_none() {
            self.make_request(now_ns);
        }
        if !self.outbox.is_empty() {
            let flushed = self.outbox.flush(&self.stream);
            flushed.map_err(|source| self.io_error("sending", source))?;
        }
        Ok(())
    }

    fn make_request(&mut self, now_ns: u64) {
        let (context, is_incremental) = (self.context, self.session.is_incremental());
        self.partitions.clear();
        let partitions = context.workload.partitions as usize;
        for followed in &mut self.followed {
            if !is_incremental || followed.is_changed {
                followed.is_changed = false;
                self.partitions.push(FetchFrom {
                    topic: followed.slot / partitions,
                    partition: (followed.slot % partitions) as i32,
                    offset: followed.check.next_offset(),
                });
            }
        }
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let (version, workload, topics) = (context.fetch_version, context.workload, &context.topics);
        let (session, partitions) = (self.session, &self.partitions);
        self.outbox.push(|out| {
            fetch_request::write(out, version, correlation_id, workload, topics, session, partitions);
        });
        self.in_flight = Some((correlation_id, now_ns));
    }

    /// Takes what has come, an answer at most. True: there is an answer. `ends`: so does the connection.
    pub(super) fn receive(&mut self, ends: bool, recorders: &mut GroupRecorders) -> Result<bool, LoadError> {
        if ends {
            self.inbox.expect_end();
        }
        loop {
            let filled = self.inbox.fill(&self.stream).map_err(|source| self.io_error("receiving", source))?;
            let size_max = self.context.workload.fetch_max_bytes as usize + ANSWER_BYTES_SLACK;
            let frame = self.inbox.next_frame(size_max).map_err(|large| LoadError::AnswerSize {
                broker: self.place.broker,
                connection: self.name(),
                expected: size_max,
                found: large.size,
            })?;
            if let Some(range) = frame {
                self.take_answer(range, recorders)?;
                return Ok(true);
            }
            match filled {
                Filled::All => return Ok(false),
                Filled::Some => {}
                Filled::End => {
                    return Err(LoadError::Closed { broker: self.place.broker, connection: self.name() });
                }
            }
        }
    }

    fn take_answer(&mut self, range: Range<usize>, recorders: &mut GroupRecorders) -> Result<(), LoadError> {
        let arrival_ns = self.context.clock.now_ns();
        let broker = self.place.broker;
        let Some((expected, sent_ns)) = self.in_flight.take() else {
            return Err(LoadError::Unasked { broker, connection: self.name() });
        };
        let frame = self.inbox.bytes(range);
        let found = correlation_id(frame);
        if found != Ok(expected) {
            let connection = self.name();
            return Err(match found {
                Ok(found) => LoadError::Correlation { broker, connection, expected, found },
                Err(source) => LoadError::Malformed { broker, connection, source },
            });
        }
        let mut answer = Answer {
            context: self.context,
            place: &self.place,
            followed: &mut self.followed,
            topics: &self.topics,
            frame,
            arrival_ns,
            end_to_end: recorders.end_to_end.as_mut(),
            sum: Sample {
                begin_ns: sent_ns,
                end_ns: arrival_ns,
                requests: 1,
                batches: 0,
                records: 0,
                bytes: 0,
                timed: true,
            },
        };
        let head = fetch_answer::read(frame, self.context.fetch_version, |partition| answer.take(&partition));
        let sum = answer.sum;
        let head = match head {
            Ok(head) => head,
            Err(AnswerError::Load(error)) => return Err(*error),
            Err(AnswerError::Malformed(source)) => {
                return Err(LoadError::Malformed { broker, connection: self.name(), source });
            }
        };
        if head.error_code != 0 {
            let (connection, code) = (self.name(), head.error_code);
            return Err(LoadError::RequestRefused { request: "Fetch", connection, code });
        }
        self.session = self.session.after_answer(head.session_id);
        if sum.batches > 0 {
            self.last_records_ns = arrival_ns;
            self.records += sum.records;
            recorders.fetch.record(&sum);
        }
        Ok(())
    }

    /// `Err` if an answer is long overdue, or records are that have to be there: up to `targets`, by slot, if known.
    pub(super) fn check_overdue(&self, now_ns: u64, targets: Option<&[i64]>) -> Result<(), LoadError> {
        const SECOND_NS: u64 = 1_000_000_000;
        let seconds = ANSWER_SECONDS_MAX;
        let answer_seconds = seconds + self.context.workload.fetch_max_wait_ms as u64 / 1000;
        if self.in_flight.is_some_and(|(_, sent_ns)| now_ns.saturating_sub(sent_ns) > answer_seconds * SECOND_NS) {
            let (broker, connection) = (self.place.broker, self.name());
            return Err(LoadError::NoAnswer { broker, connection, seconds: answer_seconds });
        }
        let Some(targets) = targets else { return Ok(()) };
        if now_ns.saturating_sub(self.last_records_ns) < seconds * SECOND_NS {
            return Ok(());
        }
        match self.followed.iter().find(|followed| followed.check.next_offset() < targets[followed.slot]) {
            None => Ok(()),
            Some(followed) => {
                let (topic, partition) = self.context.place(followed.slot);
                let (expected, found) = (targets[followed.slot], followed.check.next_offset());
                let group = self.place.group_name.clone();
                Err(LoadError::Unread { group, topic, partition, expected, found, seconds })
            }
        }
    }

    fn io_error(&self, action: &'static str, source: std::io::Error) -> LoadError {
        LoadError::Io { broker: self.place.broker, connection: self.name(), action, source }
    }

    fn name(&self) -> String {
        self.place.name()
    }
}

impl Place {
    fn name(&self) -> String {
        name(&self.group_name, self.member)
    }
}

/// What a consumer's connection is called in errors.
pub(super) fn name(group: &str, member: usize) -> String {
    format!("consumer {member} of {group}")
}

enum AnswerError {
    Malformed(Malformed),
    Load(Box<LoadError>),
}

impl From<Malformed> for AnswerError {
    fn from(malformed: Malformed) -> AnswerError {
        AnswerError::Malformed(malformed)
    }
}

/// An answer on its way through the checks.
struct Answer<'a, 'b> {
    context: &'a Context<'a>,
    place: &'b Place,
    followed: &'b mut [Followed],
    topics: &'b HashMap<Vec<u8>, usize>,
    frame: &'b [u8],
    arrival_ns: u64,
    end_to_end: Option<&'b mut Recorder>,
    sum: Sample,
}

impl Answer<'_, '_> {
    fn take(&mut self, answer: &PartitionAnswer<'_>) -> Result<(), AnswerError> {
        self.take_partition(answer).map_err(|error| AnswerError::Load(Box::new(error)))
    }

    fn take_partition(&mut self, answer: &PartitionAnswer<'_>) -> Result<(), LoadError> {
        let context = self.context;
        let not_asked = || LoadError::NotAsked { connection: self.place.name() };
        let topic = *self.topics.get(answer.topic).ok_or_else(not_asked)?;
        if !(0..context.workload.partitions).contains(&answer.partition) {
            return Err(not_asked());
        }
        let slot = context.slot(topic, answer.partition);
        let number = self.followed.binary_search_by_key(&slot, |followed| followed.slot).map_err(|_| not_asked())?;
        if answer.error_code != 0 {
            return Err(LoadError::Refused {
                request: "Fetch",
                connection: self.place.name(),
                topic: context.topics[topic].name.clone(),
                partition: answer.partition,
                code: answer.error_code,
                message: String::new(),
            });
        }
        let followed = &mut self.followed[number];
        let expected = Expected {
            template: &context.template,
            record_size: context.workload.record_size,
            full: context.verify_full,
        };
        let mut rest = &self.frame[answer.records.clone()];
        while let Some(size) = whole_batch(rest) {
            let (batch, behind) = rest.split_at(size);
            rest = behind;
            let header = BatchHeader::parse(batch).map_err(Fault::Batch);
            let checked = header.and_then(|header| followed.check.batch(&header, batch, &expected));
            let marker = checked.map_err(|fault| {
                let (topic, partition) = context.place(slot);
                let (group, offset) = (self.place.group_name.clone(), followed.check.next_offset());
                LoadError::Verify { group, topic, partition, offset, fault }
            })?;
            followed.is_changed = true;
            let (records, bytes) = (u64::from(context.template.records()), size as u64);
            self.sum.batches += 1;
            self.sum.records += records;
            self.sum.bytes += bytes;
            if let Some(recorder) = &mut self.end_to_end {
                let (begin_ns, end_ns) = (marker.sent_ns, self.arrival_ns);
                recorder.record(&Sample { begin_ns, end_ns, requests: 1, batches: 1, records, bytes, timed: true });
            }
        }
        Ok(())
    }
}

/// The size of the batch at the front, unless it is cut short, as the last of an answer may be.
fn whole_batch(bytes: &[u8]) -> Option<usize> {
    let length = bytes.get(..BATCH_LENGTH_END)?.last_chunk()?;
    // A negative length is nonsense that parsing the batch finds.
    let size = BATCH_LENGTH_END + usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0);
    (size <= bytes.len()).then_some(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_cut_short_waits_for_the_next_answer() {
        let mut batch = vec![0; 100];
        batch[8..12].copy_from_slice(&88_i32.to_be_bytes());
        assert_eq!(whole_batch(&batch), Some(100));
        for cut in 0..100 {
            assert_eq!(whole_batch(&batch[..cut]), None);
        }
        batch[8..12].copy_from_slice(&(-5_i32).to_be_bytes());
        assert_eq!(whole_batch(&batch), Some(BATCH_LENGTH_END), "nonsense is passed on to be found out");
    }
}
