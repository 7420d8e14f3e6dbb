//! The CRC-32C of a changing head and a tail that stays, without looking at the tail again.
//!
//! Appending n bytes to a message multiplies its CRC by x^(8n) modulo the polynomial and adds that of the n bytes. The
//! multiplication is linear, so four tables of what it makes of each byte of a CRC give it in four look-ups.

/// Appends one particular tail to CRCs.
#[derive(Clone)]
pub(super) struct CrcAppend {
    tail_crc: u32,
    /// `shifted[i][b]`: what appending as many zeros makes of a CRC whose byte i, the lowest first, is b.
    shifted: Box<[[u32; 256]; 4]>,
}

impl CrcAppend {
    pub(super) fn new(tail: &[u8]) -> CrcAppend {
        let bits: [u32; 32] = std::array::from_fn(|bit| crc32c::crc32c_combine(1 << bit, 0, tail.len()));
        let mut shifted = Box::new([[0; 256]; 4]);
        for (byte, table) in shifted.iter_mut().enumerate() {
            for (value, entry) in table.iter_mut().enumerate() {
                let set = (0..8).filter(|bit| value >> bit & 1 == 1);
                *entry = set.fold(0, |sum, bit| sum ^ bits[8 * byte + bit]);
            }
        }
        CrcAppend { tail_crc: crc32c::crc32c(tail), shifted }
    }

    /// The CRC of a message of CRC `head_crc` with the tail behind.
    pub(super) fn append_to(&self, head_crc: u32) -> u32 {
        let bytes = head_crc.to_le_bytes();
        let shifted =
            bytes.iter().zip(self.shifted.iter()).fold(0, |sum, (byte, table)| sum ^ table[usize::from(*byte)]);
        shifted ^ self.tail_crc
    }
}

impl std::fmt::Debug for CrcAppend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CrcAppend").field("tail_crc", &self.tail_crc).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_of_a_whole_follows_from_its_parts() {
        let bytes: Vec<u8> = (0..5000_u32).map(|n| (n * n % 251) as u8).collect();
        for (split, end) in [(0, 0), (0, 9), (7, 7), (100, 101), (82, 5000), (4999, 5000)] {
            let append = CrcAppend::new(&bytes[split..end]);
            assert_eq!(
                append.append_to(crc32c::crc32c(&bytes[..split])),
                crc32c::crc32c(&bytes[..end]),
                "{split} {end}"
            );
        }
    }
}
