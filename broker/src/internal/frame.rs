//! Questions and answers on an internal connection: a length (u32, of all that follows), the number that the asking end gave
//! the question (u64), and the message. Little endian. Answers come in any order.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The longest message between members, in bytes: a snapshot of some million partitions.
pub const MEMBER_MESSAGE_BYTES_MAX: usize = 256 << 20;
/// The longest request to the controller, and the longest answer, in bytes. Whoever reaches the port may send one.
pub const REQUEST_BYTES_MAX: usize = 16 << 20;
const LENGTH_BYTES: usize = 4;
const ID_BYTES: usize = 8;
/// What is read at once at least, and how much memory an idle connection keeps.
const READ_BYTES: usize = 16 * 1024;

/// One question or answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u64,
    pub message: Bytes,
}

/// The bytes of a frame.
///
/// # Errors
/// If the message is longer than [`MEMBER_MESSAGE_BYTES_MAX`].
pub fn encode(id: u64, message: &[u8]) -> io::Result<Vec<u8>> {
    if message.len() > MEMBER_MESSAGE_BYTES_MAX {
        return Err(too_long(message.len(), MEMBER_MESSAGE_BYTES_MAX));
    }
    let length = u32::try_from(ID_BYTES + message.len()).expect("bounded by MEMBER_MESSAGE_BYTES_MAX");
    let mut bytes = Vec::with_capacity(LENGTH_BYTES + ID_BYTES + message.len());
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(message);
    Ok(bytes)
}

fn too_long(bytes: usize, bytes_max: usize) -> io::Error {
    let reason = format!("a message of {bytes} bytes is longer than {bytes_max}");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// The frames that come in on a connection. Memory grows with what has arrived, not with what was announced.
pub struct Frames<R> {
    from: R,
    buffer: BytesMut,
    message_bytes_max: usize,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Of messages of `message_bytes_max` bytes at most.
    pub fn new(from: R, message_bytes_max: usize) -> Frames<R> {
        Frames { from, buffer: BytesMut::with_capacity(READ_BYTES), message_bytes_max }
    }

    /// The next frame; `None` at an orderly end. Nothing is lost when this is dropped before it resolves.
    pub async fn next(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(frame) = take(&mut self.buffer, self.message_bytes_max)? {
                return Ok(Some(frame));
            }
            self.buffer.reserve(READ_BYTES);
            if self.from.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
            }
        }
    }
}

/// Takes a frame off the front of what has arrived.
fn take(buffer: &mut BytesMut, message_bytes_max: usize) -> io::Result<Option<Frame>> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_le_bytes(*length) as usize;
    if length > ID_BYTES + message_bytes_max {
        return Err(too_long(length - ID_BYTES, message_bytes_max));
    }
    if length < ID_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes has no number")));
    }
    if buffer.len() < LENGTH_BYTES + length {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    let mut frame = buffer.split_to(length).freeze();
    let id = frame.get_u64_le();
    Ok(Some(Frame { id, message: frame }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(bytes: &[u8]) -> Result<Vec<Frame>, io::ErrorKind> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut frames = Frames::new(bytes, REQUEST_BYTES_MAX);
            let mut found = Vec::new();
            while let Some(frame) = frames.next().await.map_err(|error| error.kind())? {
                found.push(frame);
            }
            Ok(found)
        })
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_before_memory_is_taken() {
        for length in [0_u32, 7, u32::MAX, REQUEST_BYTES_MAX as u32 + 9] {
            assert_eq!(all(&length.to_le_bytes()), Err(io::ErrorKind::InvalidData), "{length}");
        }
        assert_eq!(all(&[8, 0, 0, 0, 1]), Err(io::ErrorKind::UnexpectedEof));
    }

    proptest! {
        #[test]
        fn what_is_sent_arrives(sent in proptest::collection::vec((any::<u64>(), proptest::collection::vec(any::<u8>(), 0..200)), 0..9)) {
            let bytes: Vec<u8> = sent.iter().flat_map(|(id, message)| encode(*id, message).unwrap()).collect();
            let expected: Vec<Frame> = sent.into_iter().map(|(id, message)| Frame { id, message: message.into() }).collect();
            prop_assert_eq!(all(&bytes), Ok(expected));
        }

        #[test]
        fn garbage_is_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = all(&bytes);
        }
    }
}
