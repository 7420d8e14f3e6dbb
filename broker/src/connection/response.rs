//! What the writer is given to send.

use bytes::Bytes;

use super::lanes::LaneTurn;
use crate::shard::budget::Held;

/// The outcome of one request.
pub enum Response {
    /// Bytes to send, the length prefix included.
    Send(ResponseBytes),
    /// Nothing is sent (acks=0).
    Silent,
    /// The connection is closed once what comes before has been sent.
    Close { reason: String },
}

/// Encoded bytes, and what is released when they have been sent.
pub struct ResponseBytes {
    pub chunks: Vec<Bytes>,
    /// Share of the shard's response budget.
    #[expect(dead_code, reason = "given back by being dropped")]
    pub held: Option<Held>,
    /// The lane that stays closed until the bytes are sent.
    #[expect(dead_code, reason = "ends by being dropped")]
    pub turn: Option<LaneTurn>,
}

impl ResponseBytes {
    pub fn plain(bytes: Bytes) -> ResponseBytes {
        ResponseBytes { chunks: vec![bytes], held: None, turn: None }
    }
}
