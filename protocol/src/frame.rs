//! Length-prefixed framing: a 4-byte big-endian length, then as many bytes (Kafka protocol guide, "Protocol Primitive
//! Types").
//!
//! Pure: the caller appends what it read from the socket to a buffer, and takes whole frames out of it. Memory follows
//! what has arrived: the announced length is checked against the limit and otherwise believed only when the bytes are
//! there. Frames are slices of the buffer and keep it alive; whoever stores a part of one for long should copy it.

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

/// Bytes of the length in front of every frame.
pub const LENGTH_BYTES: usize = 4;
/// Kafka's default of `socket.request.max.bytes`.
pub const FRAME_BYTES_MAX_DEFAULT: usize = 100 * 1024 * 1024;

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

    fn announced(&self, buffer: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(prefix) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = i32::from_be_bytes(*prefix);
        let length = usize::try_from(length).map_err(|_| FrameError::NegativeLength { length })?;
        if length > self.frame_bytes_max {
            return Err(FrameError::TooLong { length, limit: self.frame_bytes_max });
        }
        Ok(Some(length))
    }
}

/// Puts a connection's frames together from what comes out of its socket, in whatever pieces.
///
/// A frame is copied once, into memory of its own size if it did not come whole, so whoever keeps a part of a large one
/// keeps little else. All frames are to be taken out before more bytes come in.
#[derive(Debug)]
pub struct FrameAssembler {
    decoder: FrameDecoder,
    /// Whole frames with their lengths.
    whole: VecDeque<Bytes>,
    /// The begin of the frame behind them.
    partial: Vec<u8>,
}

impl FrameAssembler {
    /// Memory for a frame that is announced, before it has come; more only for [`FrameAssembler::reserve_announced`].
    const RESERVE_BYTES_MAX: usize = 8 * 1024;

    #[must_use]
    pub fn new(decoder: FrameDecoder) -> FrameAssembler {
        FrameAssembler { decoder, whole: VecDeque::new(), partial: Vec::new() }
    }

    /// Nothing has come of any frame that was not taken out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.whole.is_empty() && self.partial.is_empty()
    }

    /// Bytes that have come of the frame that is not whole.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partial.len()
    }

    /// Bytes that this frame will have with its length, as far as it says so by now; else what is there.
    #[must_use]
    pub fn announced_bytes(&self) -> usize {
        match self.decoder.announced(&self.partial) {
            Ok(Some(length)) => LENGTH_BYTES + length,
            Ok(None) | Err(_) => self.partial.len(),
        }
    }

    /// Reserves memory for all of the announced frame: to be called when it is accounted for.
    pub fn reserve_announced(&mut self) {
        let missing = self.announced_bytes().saturating_sub(self.partial.len());
        self.partial.reserve_exact(missing);
    }

    /// Takes in what was read.
    ///
    /// # Panics
    /// If whole frames have not been taken out.
    pub fn take_in(&mut self, mut bytes: &[u8]) {
        assert!(self.whole.is_empty(), "frames are taken out before more is read");
        while !self.partial.is_empty() && !bytes.is_empty() {
            let missing = match self.decoder.announced(&self.partial) {
                Ok(Some(length)) => LENGTH_BYTES + length - self.partial.len(),
                Ok(None) => LENGTH_BYTES - self.partial.len(),
                // Reported when the next frame is asked for; what comes behind it means nothing.
                Err(_) => return,
            };
            let (now, later) = bytes.split_at(missing.min(bytes.len()));
            self.extend_partial(now);
            bytes = later;
            self.complete_partial();
        }
        let mut whole = 0;
        while let Ok(Some(length)) = self.decoder.announced(&bytes[whole..])
            && bytes.len() - whole >= LENGTH_BYTES + length
        {
            whole += LENGTH_BYTES + length;
        }
        if whole > 0 {
            self.whole.push_back(Bytes::copy_from_slice(&bytes[..whole]));
        }
        self.extend_partial(&bytes[whole..]);
    }

    /// The memory behind what has come of a large frame, for reading into without a copy; call
    /// [`FrameAssembler::extended`] then. `None` where that is not worth it.
    pub fn partial_mut(&mut self) -> Option<&mut Vec<u8>> {
        (self.partial.capacity() > self.partial.len()).then_some(&mut self.partial)
    }

    /// Something was added at the end of [`FrameAssembler::partial_mut`].
    pub fn extended(&mut self) {
        self.complete_partial();
    }

    /// The next whole frame, without its length; `None` until more bytes have come.
    pub fn next_frame(&mut self) -> Result<Option<Bytes>, FrameError> {
        let Some(front) = self.whole.front_mut() else {
            return self.decoder.announced(&self.partial).map(|_| None);
        };
        let length = self.decoder.announced(front)?.expect("whole frames have their lengths");
        front.advance(LENGTH_BYTES);
        let frame = front.split_to(length);
        if front.is_empty() {
            self.whole.pop_front();
        }
        Ok(Some(frame))
    }

    fn extend_partial(&mut self, bytes: &[u8]) {
        let begin = if self.partial.is_empty() { bytes } else { &self.partial };
        // Before the bytes come in: growing would copy them once more.
        if let Ok(Some(length)) = self.decoder.announced(begin) {
            let wanted = (LENGTH_BYTES + length).min(Self::RESERVE_BYTES_MAX);
            self.partial.reserve_exact(wanted.saturating_sub(self.partial.len()).max(bytes.len()));
        }
        self.partial.extend_from_slice(bytes);
    }

    /// Hands the frame on if it is whole; what was read behind it begins the next.
    fn complete_partial(&mut self) {
        let Ok(Some(length)) = self.decoder.announced(&self.partial) else { return };
        let frame_bytes = LENGTH_BYTES + length;
        if self.partial.len() < frame_bytes {
            return;
        }
        let mut frame = Bytes::from(std::mem::take(&mut self.partial));
        let behind = frame.split_off(frame_bytes);
        self.whole.push_back(frame);
        self.extend_partial(&behind);
        // Only memory that is larger than the frame can have taken in more.
        self.complete_partial();
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
    fn frames_before_an_absurd_length_come_out_first() {
        let mut assembler = FrameAssembler::new(FrameDecoder::new(100));
        assembler.take_in(&[0, 0, 0, 1, 7, 0, 0, 0]);
        assert_eq!(assembler.next_frame().unwrap().as_deref(), Some(&[7][..]));
        assert_eq!((assembler.next_frame(), assembler.partial_bytes()), (Ok(None), 3));
        assembler.take_in(&[101, 1, 2, 3]);
        for _ in 0..2 {
            assert_eq!(assembler.next_frame(), Err(FrameError::TooLong { length: 101, limit: 100 }));
            assembler.take_in(&[0; 10]);
        }
    }

    #[test]
    fn memory_follows_what_was_announced_within_bounds() {
        let mut assembler = FrameAssembler::new(FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT));
        assembler.take_in(&(FRAME_BYTES_MAX_DEFAULT as i32).to_be_bytes());
        assert!(assembler.partial.capacity() <= FrameAssembler::RESERVE_BYTES_MAX, "{}", assembler.partial.capacity());
        assembler.reserve_announced();
        assert!(assembler.partial.capacity() >= FRAME_BYTES_MAX_DEFAULT);
        // A large frame's memory is its own, whatever came before and behind it.
        let mut assembler = FrameAssembler::new(FrameDecoder::new(1 << 20));
        let mut stream = vec![0, 0, 0, 1, 9];
        stream.extend((70_000_u32).to_be_bytes());
        stream.extend(vec![3; 70_000]);
        stream.extend([0, 0, 0, 1, 8]);
        let mut frames = Vec::new();
        for piece in stream.chunks(16_384) {
            assembler.take_in(piece);
            while let Some(frame) = assembler.next_frame().unwrap() {
                frames.push(frame.len());
            }
        }
        assert_eq!(frames, [1, 70_000, 1]);
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
            prop_assert_eq!(&found, &frames);
            prop_assert!(buffer.is_empty());
        }

        #[test]
        fn frames_are_put_together_from_any_pieces(
            frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..10),
            cuts in prop::collection::vec((1..20usize, any::<bool>()), 1..200),
        ) {
            let mut stream = Vec::new();
            for frame in &frames {
                stream.put_i32(frame.len() as i32);
                stream.put_slice(frame);
            }
            let mut assembler = FrameAssembler::new(FrameDecoder::new(50));
            let mut found = Vec::new();
            let mut rest = stream.as_slice();
            for (cut, in_place) in cuts.into_iter().chain(std::iter::once((stream.len(), false))) {
                let (now, later) = rest.split_at(cut.min(rest.len()));
                rest = later;
                match assembler.partial_mut().filter(|_| in_place) {
                    Some(partial) => {
                        partial.extend_from_slice(now);
                        assembler.extended();
                    }
                    None => assembler.take_in(now),
                }
                while let Some(frame) = assembler.next_frame().unwrap() {
                    found.push(frame.to_vec());
                }
            }
            prop_assert_eq!(&found, &frames);
            prop_assert!(assembler.is_empty());
        }
    }
}
