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
    /// Share of the shard's response budget, given back as the bytes are sent.
    pub held: Option<Held>,
    /// The lane that stays closed until the bytes are sent.
    #[expect(dead_code, reason = "ends by being dropped")]
    pub turn: Option<LaneTurn>,
}

impl ResponseBytes {
    pub fn plain(bytes: Bytes) -> ResponseBytes {
        ResponseBytes { chunks: vec![bytes], held: None, turn: None }
    }

    /// No more than so many bytes of it are in memory any more.
    pub fn hold_at_most(&mut self, bytes: usize) {
        if let Some(held) = self.held.as_mut().filter(|held| held.bytes() > bytes) {
            held.resize(bytes);
        }
    }

    /// Somebody waits for what it holds.
    pub fn is_waited_for(&self) -> bool {
        self.held.as_ref().is_some_and(Held::is_waited_for)
    }
}
