//! Memory as O_DIRECT wants it: on the boundary of a page.

/// Bytes. As large as any logical block of a disk that is in use.
pub const ALIGNMENT: usize = 4096;

/// Bytes at an address that is a multiple of [`ALIGNMENT`].
#[derive(Debug)]
pub struct AlignedBuffer {
    /// Invariant: never grows, so that it stays where it is.
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl AlignedBuffer {
    /// `length` bytes of `fill`.
    #[must_use]
    pub fn filled(length: usize, fill: u8) -> AlignedBuffer {
        let memory = vec![fill; length + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT);
        assert!(start < ALIGNMENT, "an address of bytes can be aligned");
        AlignedBuffer { memory, start, length }
    }

    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    #[must_use]
    pub fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_buffer_is_aligned_and_as_long_as_asked_for() {
        for length in [1, ALIGNMENT, 10 * ALIGNMENT + 1] {
            let mut buffer = AlignedBuffer::filled(length, 7);
            assert_eq!(buffer.as_slice().as_ptr().addr() % ALIGNMENT, 0);
            assert_eq!(buffer.as_slice(), vec![7; length]);
            assert_eq!(buffer.as_mut_slice().len(), length);
        }
    }
}
