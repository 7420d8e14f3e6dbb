//! Distinct types for the numbers that must never be mixed up.
//!
//! Each is a plain integer on the wire, and serialized as that. Arithmetic is deliberately limited to what makes sense for the quantity: an
//! [`Offset`] can be advanced by a record count, but two offsets cannot be added.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Position of a record in a partition's log, counted in records from 0 (Kafka: `INT64` offsets).
///
/// "End" offsets (log end offset, high watermark, durable end offset) are exclusive: the offset *after* the last record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Offset(pub i64);

impl Offset {
    /// First offset of every log.
    pub const ZERO: Offset = Offset(0);

    /// The offset `records` later.
    ///
    /// # Panics
    /// If the result passes `i64::MAX`; a caller that takes `records` from outside must bound it first.
    #[must_use]
    pub fn advance(self, records: i64) -> Offset {
        Offset(self.0.checked_add(records).expect("offset overflow"))
    }

    /// The offset just before this one; of 0 it is -1, Kafka's "none".
    #[must_use]
    pub fn prev(self) -> Offset {
        Offset(self.0 - 1)
    }
}

/// Generation of a partition's leadership; rises with every election (KIP-101). -1 means unknown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// What a client sends when it does not know the epoch.
    pub const UNKNOWN: LeaderEpoch = LeaderEpoch(-1);
}

/// Index of a partition within its topic, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct PartitionId(pub i32);

/// A broker's node id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct BrokerId(pub i32);

/// A topic's identity; a re-created topic of the same name has another (KIP-516).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    /// All zeros: "not given" on the wire.
    pub const ZERO: TopicId = TopicId(uuid::Uuid::nil());
}

/// Identity of an idempotent or transactional producer (KIP-98). -1 means none.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct ProducerId(pub i64);

impl ProducerId {
    /// The producer id of a batch that is not idempotent.
    pub const NONE: ProducerId = ProducerId(-1);
}

macro_rules! fmt_as_inner {
    ($($t:ident),*) => {$(
        impl fmt::Display for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0, f) }
        }
        impl fmt::Debug for $t {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result { fmt::Display::fmt(&self.0, f) }
        }
    )*};
}
fmt_as_inner!(Offset, LeaderEpoch, PartitionId, BrokerId, TopicId, ProducerId);
