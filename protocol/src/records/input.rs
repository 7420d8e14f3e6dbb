//! A byte stream with a position and a limit, read through a small buffer.

use std::io::Read;

/// Bytes taken from the decompressor at a time.
const BUFFER_BYTES: usize = 8 * 1024;

/// Why a read failed.
pub(super) enum Fault {
    End,
    Limit { limit: u64 },
    Io(std::io::Error),
}

pub(super) struct Input<'a> {
    reader: Box<dyn Read + 'a>,
    buffer: Box<[u8]>,
    /// The unread part of `buffer`.
    unread: std::ops::Range<usize>,
    /// Bytes that came out of `reader`.
    produced: u64,
    limit: u64,
}

impl<'a> Input<'a> {
    pub(super) fn new(reader: Box<dyn Read + 'a>, limit: u64) -> Input<'a> {
        Input { reader, buffer: vec![0; BUFFER_BYTES].into_boxed_slice(), unread: 0..0, produced: 0, limit }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> u64 {
        self.produced - self.unread.len() as u64
    }

    pub(super) fn byte(&mut self) -> Result<u8, Fault> {
        if self.unread.is_empty() && !self.fill()? {
            return Err(Fault::End);
        }
        let byte = self.buffer[self.unread.start];
        self.unread.start += 1;
        Ok(byte)
    }

    pub(super) fn skip(&mut self, mut bytes: u64) -> Result<(), Fault> {
        while bytes > 0 {
            let chunk = self.chunk(bytes)?;
            bytes -= chunk.len() as u64;
        }
        Ok(())
    }

    /// Replaces the content of `out` by the next `bytes` bytes. It grows with what arrives, not with what is announced.
    pub(super) fn read_into(&mut self, out: &mut Vec<u8>, mut bytes: u64) -> Result<(), Fault> {
        out.clear();
        while bytes > 0 {
            let chunk = self.chunk(bytes)?;
            out.extend_from_slice(&self.buffer[chunk.clone()]);
            bytes -= chunk.len() as u64;
        }
        Ok(())
    }

    pub(super) fn is_at_end(&mut self) -> Result<bool, Fault> {
        Ok(self.unread.is_empty() && !self.fill()?)
    }

    /// Takes between one and `most` bytes, as a range of the buffer.
    fn chunk(&mut self, most: u64) -> Result<std::ops::Range<usize>, Fault> {
        if self.unread.is_empty() && !self.fill()? {
            return Err(Fault::End);
        }
        let size = (self.unread.len() as u64).min(most) as usize;
        let chunk = self.unread.start..self.unread.start + size;
        self.unread.start += size;
        Ok(chunk)
    }

    /// Fills the empty buffer; false at the end of the stream.
    fn fill(&mut self) -> Result<bool, Fault> {
        let read = loop {
            match self.reader.read(&mut self.buffer) {
                Ok(read) => break read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Err(Fault::End),
                Err(error) if error.kind() == std::io::ErrorKind::FileTooLarge => {
                    return Err(Fault::Limit { limit: self.limit });
                }
                Err(error) => return Err(Fault::Io(error)),
            }
        };
        self.unread = 0..read;
        self.produced += read as u64;
        if self.produced > self.limit {
            return Err(Fault::Limit { limit: self.limit });
        }
        Ok(read > 0)
    }
}
