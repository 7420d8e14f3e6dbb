//! Length-prefixed framing: a 4-byte big-endian length, then as many bytes (Kafka protocol guide, "Protocol Primitive
//! Types").
//!
//! Pure: the caller appends what it read from the socket to a buffer, and takes whole frames out of it. Memory follows
//! what has arrived: the announced length is checked against the limit and otherwise believed only when the bytes are
//! there. Frames are slices of the buffer and keep it alive; whoever stores a part of one for long should copy it.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;
/// Kafka's default of `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 100 * 1024 * 1024;
/// The least that [`FrameDecoder::read_bytes_wanted`] asks for.
const READ_BYTES_MIN: usize = 16 * 1024;

/// A length that no frame can have. The stream has no recoverable frame boundary after it: close the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    #[error("frame announces {length} bytes; a length cannot be negative (is the peer speaking another protocol?)")]
    NegativeLength { length: i32 },
    #[error("frame announces {length} bytes, more than the {limit} that socket.request.max.bytes allows")]
    TooLong { length: usize, limit: usize },
}

/// Takes frames out of a connection's read buffer.
#[derive(Clone, Copy, Debug)]
pub struct FrameDecoder {
    frame_bytes_max: usize,
}

impl FrameDecoder {
    /// `frame_bytes_max` is `socket.request.max.bytes`, without the length itself.
    #[must_use]
    pub fn new(frame_bytes_max: usize) -> FrameDecoder {
        FrameDecoder { frame_bytes_max }
    }

    /// The next whole frame, without its length; `None` until more bytes have arrived. After an error the buffer is
    /// left as it was.
    pub fn next_frame(&self, buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
        let Some(length) = self.announced(buffer)? else { return Ok(None) };
        if buffer.len() < LENGTH_BYTES + length {
            return Ok(None);
        }
        buffer.advance(LENGTH_BYTES);
        Ok(Some(buffer.split_to(length).freeze()))
    }

    /// How much room the next read should be given: what is missing of the current frame, yet never more than has
    /// already arrived of it (so that an announcement alone reserves nothing) and never a silly little.
    #[must_use]
    pub fn read_bytes_wanted(&self, buffer: &BytesMut) -> usize {
        let missing = match self.announced(buffer) {
            Ok(Some(length)) => (LENGTH_BYTES + length).saturating_sub(buffer.len()),
            Ok(None) | Err(_) => 0,
        };
        missing.min(buffer.len()).max(READ_BYTES_MIN)
    }

    /// Bytes that the frame at the front will have with its length, as far as it says so by now; else what is there.
    #[must_use]
    pub fn announced_bytes(&self, buffer: &BytesMut) -> usize {
        match self.announced(buffer) {
            Ok(Some(length)) => LENGTH_BYTES + length,
            Ok(None) | Err(_) => buffer.len(),
        }
    }

    fn announced(&self, buffer: &BytesMut) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let length = usize::try_from(length).map_err(|_| FrameError::NegativeLength { length })?;
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLong { length, limit: self.frame_bytes_max });
        }
        Ok(Some(length))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn absurd_lengths_are_errors_that_say_what_was_found() {
        let decoder = FrameDecoder::new(100);
        let mut buffer = BytesMut::from(&[0xff, 0xff, 0xff, 0xfe, 1][..]);
        assert_eq!(decoder.next_frame(&mut buffer), Err(FrameError::NegativeLength { length: -2 }));
        assert_eq!(buffer.len(), 5);
        let mut buffer = BytesMut::from(&101i32.to_be_bytes()[..]);
        assert_eq!(decoder.next_frame(&mut buffer), Err(FrameError::TooLong { length: 101, limit: 100 }));
        // "GET " as a length: an HTTP client that went astray.
        let mut buffer = BytesMut::from(&b"GET / HTTP/1.1\r\n"[..]);
        let limit = FRAME_BYTES_MAX_DEFAULT;
        assert_eq!(
            FrameDecoder::new(limit).next_frame(&mut buffer),
            Err(FrameError::TooLong { length: 0x4745_5420, limit })
        );
    }

    #[test]
    fn the_limit_itself_and_zero_pass() {
        let decoder = FrameDecoder::new(3);
        let mut buffer = BytesMut::from(&[0, 0, 0, 3, 7, 8, 9, 0, 0, 0, 0][..]);
        assert_eq!(decoder.next_frame(&mut buffer).unwrap().as_deref(), Some(&[7, 8, 9][..]));
        assert_eq!(decoder.next_frame(&mut buffer).unwrap().as_deref(), Some(&[][..]));
        assert_eq!(decoder.next_frame(&mut buffer), Ok(None));
    }

    #[test]
    fn an_announcement_reserves_nothing() {
        let decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
        let mut buffer = BytesMut::from(&(FRAME_BYTES_MAX_DEFAULT as i32).to_be_bytes()[..]);
        assert_eq!(decoder.next_frame(&mut buffer), Ok(None));
        assert!(buffer.capacity() < 1024, "capacity is {}", buffer.capacity());
        assert_eq!(decoder.read_bytes_wanted(&buffer), READ_BYTES_MIN);
        // With a megabyte here, as much again may be asked for; near the end, only what is missing.
        buffer.put_bytes(0, 1 << 20);
        assert_eq!(decoder.read_bytes_wanted(&buffer), buffer.len());
        let mut short = BytesMut::from(&(1i32 << 20).to_be_bytes()[..]);
        short.put_bytes(0, (1 << 20) - 20_000);
        assert_eq!(decoder.read_bytes_wanted(&short), 20_000);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_stream_gives_the_same_frames(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            cuts in prop::collection::vec(1..20usize, 1..200),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                stream.put_i32(frame.len() as i32);
                stream.put_slice(frame);
            }
            let decoder = FrameDecoder::new(50);
            let mut buffer = BytesMut::new();
            let mut found = Vec::new();
            let mut rest = stream.as_slice();
            for cut in cuts.into_iter().chain(std::iter::once(stream.len())) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                buffer.put_slice(now);
                rest = later;
                while let Some(frame) = decoder.next_frame(&mut buffer).unwrap() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(found, frames);
            prop_assert!(buffer.is_empty());
        }
    }
}
