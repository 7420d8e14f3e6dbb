//! Pieces that are to be sent together, in order.

use std::io;

use bytes::{Bytes, BytesMut};

use super::socket::WriteHalf;
use crate::shard::queues::breathe_after;

/// Pieces below this are copied together: a piece of its own costs the kernel about as much.
const COPY_PIECE_BYTES_MAX: usize = 1024;
/// What has come together is much when it reaches this, in bytes and in pieces.
const MUCH_BYTES: usize = 512 * 1024;
const MUCH_PIECES: usize = 256;

/// See the module's documentation.
#[derive(Default)]
pub struct Gathered {
    /// To be sent, in order.
    pieces: Vec<Bytes>,
    bytes: usize,
    /// Small ones copied together, behind those.
    small: BytesMut,
}

impl Gathered {
    pub fn add(&mut self, piece: Bytes) {
        if piece.len() <= COPY_PIECE_BYTES_MAX {
            self.add_copy(&piece);
        } else {
            self.bytes += piece.len();
            self.end_small();
            self.pieces.push(piece);
        }
    }

    pub fn add_copy(&mut self, piece: &[u8]) {
        self.bytes += piece.len();
        self.small.extend_from_slice(piece);
    }

    /// It is time to send.
    pub fn is_much(&self) -> bool {
        self.bytes >= MUCH_BYTES || self.pieces.len() >= MUCH_PIECES
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    fn end_small(&mut self) {
        if !self.small.is_empty() {
            self.pieces.push(self.small.split().freeze());
        }
    }

    /// Sends it all.
    pub async fn send(&mut self, socket: &mut WriteHalf) -> io::Result<()> {
        self.end_small();
        socket.send_all(&self.pieces).await?;
        self.pieces.clear();
        breathe_after(std::mem::take(&mut self.bytes)).await;
        Ok(())
    }
}
