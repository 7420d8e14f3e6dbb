//! What the two ends of a replication connection say to each other.
//!
//! After the handshake, frames as of [`protocol::frame`]: a length, then the number of the stream that it is about (u32, 0 for
//! the connection), a kind (u8), and what belongs to it. Big endian, like all of Kafka's protocol. The leader's end numbers the
//! streams. Batches lie at the end of their frame, as they lie in the leader's log.
//!
//! A change of this needs a new version of the internal protocol, which the handshake agrees on.

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use protocol::newtypes::{LeaderEpoch, Offset, PartitionId, TopicId};

use crate::divergence::{BatchMark, LogTail};

/// Bytes of a frame before its batches: length, stream, kind, high watermark, log start offset, whether there are gaps.
pub const BATCHES_HEAD_BYTES: usize = 4 + 4 + 1 + 8 + 8 + 1;
/// Bytes of a frame besides its batches, at most.
pub const FRAME_OVERHEAD_BYTES_MAX: usize = 2048;
/// Longest text of a reason that is sent, in bytes.
const TEXT_BYTES_MAX: usize = 1024;

/// Names a stream on its connection.
pub type StreamId = u32;
/// Stands for the connection itself.
pub const CONNECTION: StreamId = 0;

/// From the leader's shard to the follower's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToFollower {
    /// A stream begins. Answered by [`ToLeader::Position`] once the follower's metadata says the same of the partition.
    Open { topic_id: TopicId, partition: PartitionId, leader_epoch: LeaderEpoch },
    /// [`crate::divergence::Verdict::Cut`]. Answered by [`ToLeader::Position`] when that is done.
    Cut { epoch: LeaderEpoch, end: Offset },
    /// The follower's log is to begin anew, empty, at this offset. Answered as a cut is.
    Restart { at: Offset },
    /// The follower's log is a begin of the leader's: batches follow on it.
    Agreed(Progress),
    /// Whole batches, one behind the other, that continue what was sent before.
    Batches { progress: Progress, run: Run },
    /// As told with batches, where there are none to send.
    Progress(Progress),
    /// The stream ends.
    Close(Reason),
    /// The connection lives.
    Beat,
}

/// Batches of one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Compaction has dropped what lay before some of them in the leader's log. Without that, each begins where the one before
    /// ends.
    pub has_gaps: bool,
    pub batches: Bytes,
}

/// How far the leader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub high_watermark: Offset,
    pub log_start: Offset,
}

/// From the follower's shard to the leader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToLeader {
    /// How the follower's log ends; all of it is on its disk.
    Position {
        tail: LogTail,
        /// Of the follower's process.
        broker_epoch: u64,
        /// How many bytes may be on their way to its disk; one batch may be more.
        window_bytes: u32,
    },
    /// Everything before `end` is on the follower's disk.
    Durable { end: Offset, log_start: Offset },
    /// The stream ends.
    Close(Reason),
    /// The connection lives.
    Beat,
}

/// Why a stream ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    #[error("the leader epoch is over")]
    Over,
    #[error("the leader epoch is over: the follower knows of {known}")]
    OldEpoch { known: LeaderEpoch },
    #[error("the follower has no replica of the partition")]
    NoReplica,
    #[error("another stream of the same partition was opened")]
    Superseded,
    /// The follower's log cannot be written or read, now or for ever.
    #[error("the follower's replica is offline: {0}")]
    Offline(String),
    /// The logs differ where they must not. For an operator to look at.
    #[error("the logs differ where they must be equal: {0}")]
    Diverged(String),
    #[error("the other end does not keep to the protocol: {0}")]
    Violation(String),
    #[error("the broker is stopping")]
    Stopping,
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("the frame ends within a message: {0}")]
    CutShort(String),
    #[error("unknown kind of message {0}")]
    UnknownKind(u8),
    #[error("unknown reason {0} for the end of a stream")]
    UnknownReason(u8),
    #[error("{0} bytes behind the end of a message")]
    Trailing(usize),
}

impl From<TryGetError> for DecodeError {
    fn from(error: TryGetError) -> DecodeError {
        DecodeError::CutShort(error.to_string())
    }
}

mod kind {
    pub const BEAT: u8 = 0;
    pub const CLOSE: u8 = 1;
    pub const OPEN: u8 = 2;
    pub const CUT: u8 = 3;
    pub const RESTART: u8 = 4;
    pub const AGREED: u8 = 5;
    pub const BATCHES: u8 = 6;
    pub const PROGRESS: u8 = 7;
    pub const POSITION: u8 = 8;
    pub const DURABLE: u8 = 9;
}

impl ToFollower {
    /// Appends the message's frame to `out`. Of [`ToFollower::Batches`] too, copied; [`batches_head`] does without a copy.
    pub fn encode(&self, stream: StreamId, out: &mut BytesMut) {
        match self {
            ToFollower::Batches { progress, run } => {
                out.put_slice(&batches_head(stream, *progress, run.has_gaps, run.batches.len()));
                out.put_slice(&run.batches);
            }
            _ => frame(stream, out, |out| self.encode_body(out)),
        }
    }

    fn encode_body(&self, out: &mut BytesMut) {
        match self {
            ToFollower::Open { topic_id, partition, leader_epoch } => {
                out.put_u8(kind::OPEN);
                out.put_slice(topic_id.0.as_bytes());
                out.put_i32(partition.0);
                out.put_i32(leader_epoch.0);
            }
            ToFollower::Cut { epoch, end } => {
                out.put_u8(kind::CUT);
                out.put_i32(epoch.0);
                out.put_i64(end.0);
            }
            ToFollower::Restart { at } => {
                out.put_u8(kind::RESTART);
                out.put_i64(at.0);
            }
            ToFollower::Agreed(progress) => {
                out.put_u8(kind::AGREED);
                progress.encode(out);
            }
            ToFollower::Batches { progress, run } => {
                out.put_u8(kind::BATCHES);
                progress.encode(out);
                out.put_u8(u8::from(run.has_gaps));
                out.put_slice(&run.batches);
            }
            ToFollower::Progress(progress) => {
                out.put_u8(kind::PROGRESS);
                progress.encode(out);
            }
            ToFollower::Close(reason) => reason.encode(out),
            ToFollower::Beat => out.put_u8(kind::BEAT),
        }
    }

    /// Reads a frame without its length.
    pub fn decode(mut frame: Bytes) -> Result<(StreamId, ToFollower), DecodeError> {
        let stream = frame.try_get_u32()?;
        let message = match frame.try_get_u8()? {
            kind::OPEN => {
                let mut topic_id = [0; 16];
                frame.try_copy_to_slice(&mut topic_id)?;
                ToFollower::Open {
                    topic_id: TopicId(uuid::Uuid::from_bytes(topic_id)),
                    partition: PartitionId(frame.try_get_i32()?),
                    leader_epoch: LeaderEpoch(frame.try_get_i32()?),
                }
            }
            kind::CUT => {
                ToFollower::Cut { epoch: LeaderEpoch(frame.try_get_i32()?), end: Offset(frame.try_get_i64()?) }
            }
            kind::RESTART => ToFollower::Restart { at: Offset(frame.try_get_i64()?) },
            kind::AGREED => ToFollower::Agreed(Progress::decode(&mut frame)?),
            kind::BATCHES => {
                let progress = Progress::decode(&mut frame)?;
                let has_gaps = frame.try_get_u8()? != 0;
                return Ok((stream, ToFollower::Batches { progress, run: Run { has_gaps, batches: frame } }));
            }
            kind::PROGRESS => ToFollower::Progress(Progress::decode(&mut frame)?),
            kind::CLOSE => ToFollower::Close(Reason::decode(&mut frame)?),
            kind::BEAT => ToFollower::Beat,
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        };
        ended(&frame)?;
        Ok((stream, message))
    }
}

impl ToLeader {
    /// Appends the message's frame to `out`.
    pub fn encode(&self, stream: StreamId, out: &mut BytesMut) {
        frame(stream, out, |out| match self {
            ToLeader::Position { tail, broker_epoch, window_bytes } => {
                out.put_u8(kind::POSITION);
                out.put_i64(tail.log_end.0);
                out.put_i32(tail.latest_epoch.0);
                out.put_u64(*broker_epoch);
                out.put_u32(*window_bytes);
                out.put_u8(u8::from(tail.last_batch.is_some()));
                if let Some(batch) = tail.last_batch {
                    out.put_i64(batch.base_offset.0);
                    out.put_i64(batch.last_offset.0);
                    out.put_i32(batch.leader_epoch.0);
                    out.put_u32(batch.crc);
                }
            }
            ToLeader::Durable { end, log_start } => {
                out.put_u8(kind::DURABLE);
                out.put_i64(end.0);
                out.put_i64(log_start.0);
            }
            ToLeader::Close(reason) => reason.encode(out),
            ToLeader::Beat => out.put_u8(kind::BEAT),
        });
    }

    /// Reads a frame without its length.
    pub fn decode(mut frame: Bytes) -> Result<(StreamId, ToLeader), DecodeError> {
        let stream = frame.try_get_u32()?;
        let message = match frame.try_get_u8()? {
            kind::POSITION => {
                let log_end = Offset(frame.try_get_i64()?);
                let latest_epoch = LeaderEpoch(frame.try_get_i32()?);
                let (broker_epoch, window_bytes) = (frame.try_get_u64()?, frame.try_get_u32()?);
                let last_batch = match frame.try_get_u8()? {
                    0 => None,
                    _ => Some(BatchMark {
                        base_offset: Offset(frame.try_get_i64()?),
                        last_offset: Offset(frame.try_get_i64()?),
                        leader_epoch: LeaderEpoch(frame.try_get_i32()?),
                        crc: frame.try_get_u32()?,
                    }),
                };
                ToLeader::Position { tail: LogTail { log_end, latest_epoch, last_batch }, broker_epoch, window_bytes }
            }
            kind::DURABLE => {
                ToLeader::Durable { end: Offset(frame.try_get_i64()?), log_start: Offset(frame.try_get_i64()?) }
            }
            kind::CLOSE => ToLeader::Close(Reason::decode(&mut frame)?),
            kind::BEAT => ToLeader::Beat,
            unknown => return Err(DecodeError::UnknownKind(unknown)),
        };
        ended(&frame)?;
        Ok((stream, message))
    }
}

impl Progress {
    fn encode(self, out: &mut impl BufMut) {
        out.put_i64(self.high_watermark.0);
        out.put_i64(self.log_start.0);
    }

    fn decode(from: &mut Bytes) -> Result<Progress, DecodeError> {
        Ok(Progress { high_watermark: Offset(from.try_get_i64()?), log_start: Offset(from.try_get_i64()?) })
    }
}

impl Reason {
    fn encode(&self, out: &mut BytesMut) {
        let (code, epoch, text) = match self {
            Reason::Over => (0, None, ""),
            Reason::OldEpoch { known } => (1, Some(*known), ""),
            Reason::NoReplica => (2, None, ""),
            Reason::Superseded => (3, None, ""),
            Reason::Offline(text) => (4, None, text.as_str()),
            Reason::Diverged(text) => (5, None, text.as_str()),
            Reason::Violation(text) => (6, None, text.as_str()),
            Reason::Stopping => (7, None, ""),
        };
        out.put_u8(kind::CLOSE);
        out.put_u8(code);
        out.put_i32(epoch.unwrap_or(LeaderEpoch::UNKNOWN).0);
        let text = &text[..text.floor_char_boundary(TEXT_BYTES_MAX)];
        out.put_u16(u16::try_from(text.len()).expect("bounded by TEXT_BYTES_MAX"));
        out.put_slice(text.as_bytes());
    }

    fn decode(from: &mut Bytes) -> Result<Reason, DecodeError> {
        let (code, epoch, length) = (from.try_get_u8()?, from.try_get_i32()?, from.try_get_u16()?);
        let length = usize::from(length);
        if length > from.len() {
            return Err(DecodeError::CutShort(format!("a text of {length} bytes, and {} are left", from.len())));
        }
        let text = String::from_utf8_lossy(&from.split_to(length)).into_owned();
        Ok(match code {
            0 => Reason::Over,
            1 => Reason::OldEpoch { known: LeaderEpoch(epoch) },
            2 => Reason::NoReplica,
            3 => Reason::Superseded,
            4 => Reason::Offline(text),
            5 => Reason::Diverged(text),
            6 => Reason::Violation(text),
            7 => Reason::Stopping,
            unknown => return Err(DecodeError::UnknownReason(unknown)),
        })
    }
}

/// A frame of [`ToFollower::Batches`] up to where `batches_bytes` of batches follow.
#[must_use]
pub fn batches_head(
    stream: StreamId,
    progress: Progress,
    has_gaps: bool,
    batches_bytes: usize,
) -> [u8; BATCHES_HEAD_BYTES] {
    let mut head = [0; BATCHES_HEAD_BYTES];
    let mut out = &mut head[..];
    let length = BATCHES_HEAD_BYTES - 4 + batches_bytes;
    out.put_i32(i32::try_from(length).expect("a turn's batches are far below 2 GiB"));
    out.put_u32(stream);
    out.put_u8(kind::BATCHES);
    progress.encode(&mut out);
    out.put_u8(u8::from(has_gaps));
    head
}

fn frame(stream: StreamId, out: &mut BytesMut, body: impl FnOnce(&mut BytesMut)) {
    let begin = out.len();
    out.put_i32(0);
    out.put_u32(stream);
    body(out);
    let length = i32::try_from(out.len() - begin - 4).expect("messages without batches are short");
    out[begin..begin + 4].copy_from_slice(&length.to_be_bytes());
}

fn ended(frame: &Bytes) -> Result<(), DecodeError> {
    if frame.is_empty() { Ok(()) } else { Err(DecodeError::Trailing(frame.len())) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use protocol::frame::FrameDecoder;

    fn tail(last_batch: Option<BatchMark>) -> LogTail {
        LogTail { log_end: Offset(77), latest_epoch: LeaderEpoch(5), last_batch }
    }

    fn run(has_gaps: bool) -> Run {
        Run { has_gaps, batches: Bytes::from_static(b"batches") }
    }

    fn frames(mut bytes: BytesMut) -> Vec<Bytes> {
        let decoder = FrameDecoder::new(1 << 20);
        let frames = std::iter::from_fn(|| decoder.next_frame(&mut bytes).expect("lengths are right")).collect();
        assert!(bytes.is_empty());
        frames
    }

    #[test]
    fn what_is_said_arrives() {
        let progress = Progress { high_watermark: Offset(i64::MAX), log_start: Offset(3) };
        let reasons = [
            Reason::Over,
            Reason::OldEpoch { known: LeaderEpoch(9) },
            Reason::NoReplica,
            Reason::Superseded,
            Reason::Offline("no space".into()),
            Reason::Diverged("here".into()),
            Reason::Violation(String::new()),
            Reason::Stopping,
        ];
        let mut to_follower = vec![
            ToFollower::Open {
                topic_id: TopicId(uuid::Uuid::from_u128(7)),
                partition: PartitionId(3),
                leader_epoch: LeaderEpoch(4),
            },
            ToFollower::Cut { epoch: LeaderEpoch(2), end: Offset(100) },
            ToFollower::Restart { at: Offset(5) },
            ToFollower::Agreed(progress),
            ToFollower::Batches { progress, run: run(false) },
            ToFollower::Batches { progress, run: run(true) },
            ToFollower::Progress(progress),
            ToFollower::Beat,
        ];
        to_follower.extend(reasons.iter().cloned().map(ToFollower::Close));
        let mark = BatchMark {
            base_offset: Offset(70),
            last_offset: Offset(76),
            leader_epoch: LeaderEpoch(5),
            crc: 0xdead_beef,
        };
        let position =
            |last_batch| ToLeader::Position { tail: tail(last_batch), broker_epoch: 12, window_bytes: 1 << 20 };
        let mut to_leader = vec![
            position(None),
            position(Some(mark)),
            ToLeader::Durable { end: Offset(8), log_start: Offset(1) },
            ToLeader::Beat,
        ];
        to_leader.extend(reasons.into_iter().map(ToLeader::Close));

        let mut bytes = BytesMut::new();
        to_follower.iter().zip(1..).for_each(|(message, stream)| message.encode(stream, &mut bytes));
        let arrived = frames(bytes).into_iter().map(|frame| ToFollower::decode(frame).expect("good"));
        assert_eq!(arrived.collect::<Vec<_>>(), (1..).zip(to_follower).collect::<Vec<_>>());
        let mut bytes = BytesMut::new();
        to_leader.iter().zip(1..).for_each(|(message, stream)| message.encode(stream, &mut bytes));
        let arrived = frames(bytes).into_iter().map(|frame| ToLeader::decode(frame).expect("good"));
        assert_eq!(arrived.collect::<Vec<_>>(), (1..).zip(to_leader).collect::<Vec<_>>());
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut bytes = BytesMut::new();
        ToLeader::Close(Reason::Offline("ä".repeat(2000))).encode(1, &mut bytes);
        assert!(bytes.len() < FRAME_OVERHEAD_BYTES_MAX);
        let frame = frames(bytes).remove(0);
        let expected = ToLeader::Close(Reason::Offline("ä".repeat(TEXT_BYTES_MAX / 2)));
        assert_eq!(ToLeader::decode(frame), Ok((1, expected)));
    }

    #[test]
    fn what_is_too_long_or_unknown_is_refused() {
        let mut bytes = BytesMut::new();
        ToFollower::Restart { at: Offset(5) }.encode(3, &mut bytes);
        let frame = frames(bytes).remove(0);
        for cut in 0..frame.len() {
            assert!(matches!(ToFollower::decode(frame.slice(..cut)), Err(DecodeError::CutShort(_))), "{cut}");
        }
        let longer = Bytes::from([&frame[..], &[0]].concat());
        assert_eq!(ToFollower::decode(longer), Err(DecodeError::Trailing(1)));
        assert_eq!(ToFollower::decode(Bytes::from_static(&[0, 0, 0, 1, 99])), Err(DecodeError::UnknownKind(99)));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), message_kind in 0..10_u8) {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(4) {
                *byte = message_kind;
            }
            let _ = ToFollower::decode(Bytes::from(bytes.clone()));
            let _ = ToLeader::decode(Bytes::from(bytes));
        }
    }
}
