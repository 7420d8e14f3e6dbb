//! What keys and values are made of: the same in every run.

/// Words that compressible content is made of.
const WORDS: usize = 256;
const WORD_BYTES: usize = 8;

/// A source of bytes (xorshift64).
#[derive(Debug)]
pub(super) struct Content {
    state: u64,
    /// Empty: bytes without a pattern.
    words: Vec<[u8; WORD_BYTES]>,
}

impl Content {
    /// Compressible content is words of eight bytes drawn from 256, half of them without a pattern: the codecs make about
    /// half of it. Other content does not compress, so that no disk or file system can take it for less than it is.
    pub(super) fn new(compressible: bool) -> Content {
        let mut content = Content { state: 0x9e37_79b9_7f4a_7c15, words: Vec::new() };
        if compressible {
            content.words = (0..WORDS).map(|_| content.next().to_be_bytes()).collect();
        }
        content
    }

    pub(super) fn take(&mut self, size: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(size + WORD_BYTES);
        while bytes.len() < size {
            let drawn = self.next();
            let word = if self.words.is_empty() || drawn >> 60 & 3 == 0 {
                drawn.to_be_bytes()
            } else {
                self.words[drawn as usize % WORDS]
            };
            bytes.extend_from_slice(&word);
        }
        bytes.truncate(size);
        bytes
    }

    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state
    }
}
