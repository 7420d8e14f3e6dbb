//! Appending to the log as leader.
//!
//! The common case is synchronous: validate, check the producer's sequence, append. Only when the log has no reserved
//! space left (a segment is full, or the disk is) does an append go to the partition's queue, which one task drains in
//! order; later appends line up behind it, so a producer's sequence never overtakes itself.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use futures_channel::oneshot;
use kafka_protocol::ResponseError;
use protocol::Offset;
use protocol::produce_records::ProduceBatch;
use protocol::record_batch::{self, BatchHeader, TimestampType};
use wal::log::{AppendError, ReserveError};
use wal::producer_state::{SequenceCheck, SequenceError};

use super::Partition;
use super::role::Term;
use super::validate::{Refused, validate};
use crate::logging::limit;

/// An append that the log has taken. It may be acknowledged once `end` is as durable as the producer asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendAck {
    pub base_offset: Offset,
    /// Offset after the last record.
    pub end: Offset,
    /// The broker's time given to the records, or -1 where the producer's own count.
    pub log_append_time_ms: i64,
    pub log_start_offset: Offset,
    /// In which it was appended, and in which alone it may be acknowledged.
    pub term: Term,
}

/// How far an append has come.
pub enum Appending {
    Done(Result<AppendAck, Refused>),
    /// Waits for space.
    Queued(oneshot::Receiver<Result<AppendAck, Refused>>),
}

/// Appends that wait for space, in order.
#[derive(Default)]
pub struct AppendQueue {
    waiting: RefCell<VecDeque<QueuedAppend>>,
    draining: Cell<bool>,
}

struct QueuedAppend {
    records: Bytes,
    may_be_kept: bool,
    header: BatchHeader,
    /// Of the leader that it was sent to.
    term: Term,
    answer: oneshot::Sender<Result<AppendAck, Refused>>,
}

impl AppendQueue {
    /// Refuses what waits. What makes room at the moment finds out by itself.
    pub fn refuse_all(&self, refused: &Refused) {
        for queued in self.waiting.take() {
            // The producer's connection may have closed meanwhile.
            let _ = queued.answer.send(Err(refused.clone()));
        }
    }
}

/// What kept an append from the log.
enum NotAppended {
    NeedsSpace,
    Refused(Refused),
}

impl Partition {
    /// Appends the single batch of a Produce request of `version`, or queues it. `may_be_kept`: `records` is most of the
    /// memory that it is a slice of. `walk_budget`: see [`walk_budget`](super::walk_budget).
    pub fn append(
        self: &Rc<Self>,
        records: Bytes,
        may_be_kept: bool,
        version: i16,
        now_ms: i64,
        walk_budget: &mut u64,
    ) -> Appending {
        let Some(term) = self.serving_term() else { return Appending::Done(Err(self.not_leading())) };
        let config = self.config();
        let ProduceBatch { header, bytes: records } = match validate(&records, version, &config, now_ms, walk_budget) {
            Ok(batch) => batch,
            Err(refused) => return Appending::Done(Err(refused)),
        };
        if self.append_queue.waiting.borrow().is_empty() && !self.append_queue.draining.get() {
            match self.append_now(&records, may_be_kept, &header, term, now_ms) {
                Ok(ack) => return Appending::Done(Ok(ack)),
                Err(NotAppended::Refused(refused)) => return Appending::Done(Err(refused)),
                Err(NotAppended::NeedsSpace) => {}
            }
        }
        let (answer, receiver) = oneshot::channel();
        self.append_queue.waiting.borrow_mut().push_back(QueuedAppend { records, may_be_kept, header, term, answer });
        if !self.append_queue.draining.replace(true) {
            let partition = self.clone();
            glommio::spawn_local(async move { partition.drain_append_queue().await }).detach();
        }
        Appending::Queued(receiver)
    }

    /// Runs until the queue is empty. Never cancelled: a reservation that was begun must be seen to its end.
    async fn drain_append_queue(self: Rc<Self>) {
        loop {
            let Some(next) = self.append_queue.waiting.borrow_mut().pop_front() else { break };
            let result = self.append_with_room(&next).await;
            // The producer's connection may have closed meanwhile.
            let _ = next.answer.send(result);
        }
        self.append_queue.draining.set(false);
    }

    async fn append_with_room(&self, queued: &QueuedAppend) -> Result<AppendAck, Refused> {
        let QueuedAppend { records, may_be_kept, header, term, .. } = queued;
        loop {
            let now_ms = crate::clock::now_ms();
            match self.append_now(records, *may_be_kept, header, *term, now_ms) {
                Ok(ack) => return Ok(ack),
                Err(NotAppended::Refused(refused)) => return Err(refused),
                Err(NotAppended::NeedsSpace) => {}
            }
            if let Err(error) = self.log.reserve(header.size_bytes, now_ms).await {
                if self.term() != Some(*term) {
                    // The log may have been closed because the replica was taken away.
                    return Err(self.not_leading());
                }
                return Err(self.storage_refusal(&error));
            }
        }
    }

    fn storage_refusal(&self, error: &ReserveError) -> Refused {
        if limit::REQUEST_FAILED.admit() {
            tracing::warn!(topic = %self.topic, partition = %self.key.partition, %error, "produce refused: no room in the log");
        }
        Refused::new(ResponseError::KafkaStorageError, error.to_string())
    }

    fn append_now(
        &self,
        records: &Bytes,
        may_be_kept: bool,
        header: &BatchHeader,
        term: Term,
        now_ms: i64,
    ) -> Result<AppendAck, NotAppended> {
        if self.term() != Some(term) {
            return Err(NotAppended::Refused(self.not_leading()));
        }
        let log_start_offset = self.log.log_start_offset();
        let check = self.log.producer_state().check(header);
        match check {
            Ok(SequenceCheck::NotIdempotent | SequenceCheck::Accept) => {}
            Ok(SequenceCheck::Duplicate { base_offset, last_offset, timestamp }) => {
                let appended_at = self.config.borrow().timestamp_type == TimestampType::LogAppendTime;
                return Ok(AppendAck {
                    base_offset,
                    end: last_offset.advance(1),
                    log_append_time_ms: if appended_at { timestamp } else { -1 },
                    log_start_offset,
                    term,
                });
            }
            Err(error) => {
                let code = match error {
                    SequenceError::OutOfOrder { .. } => ResponseError::OutOfOrderSequenceNumber,
                    SequenceError::StaleEpoch { .. } => ResponseError::InvalidProducerEpoch,
                    SequenceError::NegativeSequence { .. } => ResponseError::InvalidRecord,
                };
                return Err(NotAppended::Refused(Refused::new(code, error.to_string())));
            }
        }
        let appended = if self.config.borrow().timestamp_type == TimestampType::LogAppendTime {
            let mut stamped = BytesMut::from(&records[..]);
            record_batch::stamp_log_append_time(&mut stamped, now_ms);
            let header = BatchHeader::parse(&stamped).expect("a stamped batch is still a batch");
            self.log.append(&stamped, &header, self.leader_epoch(), now_ms).map(|a| (a, now_ms))
        } else if may_be_kept {
            self.log.append_shared(records, header, self.leader_epoch(), now_ms).map(|a| (a, -1))
        } else {
            self.log.append(records, header, self.leader_epoch(), now_ms).map(|a| (a, -1))
        };
        match appended {
            Ok((appended, log_append_time_ms)) => {
                self.streams.appended();
                self.traffic.produced(header.size_bytes, header.record_count);
                Ok(AppendAck {
                    base_offset: appended.base_offset,
                    end: appended.last_offset.advance(1),
                    log_append_time_ms,
                    log_start_offset,
                    term,
                })
            }
            Err(AppendError::NeedsSpace) => Err(NotAppended::NeedsSpace),
            Err(error) => {
                let code = match error {
                    AppendError::TooLarge { .. } => ResponseError::RecordListTooLarge,
                    AppendError::StaleEpoch { .. } => ResponseError::NotLeaderOrFollower,
                    _ => ResponseError::KafkaStorageError,
                };
                Err(NotAppended::Refused(Refused::new(code, error.to_string())))
            }
        }
    }
}
