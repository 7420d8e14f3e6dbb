//! Reading and writing the protocol's primitive types in place.
//!
//! Only what Produce version 8 and Fetch versions 12 to 17 need. Any bytes may come: a field that does not fit what is
//! there is a [`Malformed`], never a panic and never an allocation.

/// A field that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} cannot be read at byte {at}")]
pub struct Malformed {
    pub field: &'static str,
    /// Of the frame, its length not counted.
    pub at: usize,
}

/// Reads from the front of a frame.
#[derive(Clone, Debug)]
pub(super) struct Reader<'a> {
    frame: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(frame: &'a [u8]) -> Reader<'a> {
        Reader { frame, at: 0 }
    }

    /// Bytes read so far.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    pub(super) fn bytes(&mut self, size: usize, field: &'static str) -> Result<&'a [u8], Malformed> {
        let rest = &self.frame[self.at..];
        let bytes = rest.get(..size).ok_or(Malformed { field, at: self.at })?;
        self.at += size;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self, field: &'static str) -> Result<[u8; N], Malformed> {
        self.bytes(N, field).map(|bytes| bytes.try_into().expect("as many bytes as asked for"))
    }

    pub(super) fn i16(&mut self, field: &'static str) -> Result<i16, Malformed> {
        self.array(field).map(i16::from_be_bytes)
    }

    pub(super) fn i32(&mut self, field: &'static str) -> Result<i32, Malformed> {
        self.array(field).map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self, field: &'static str) -> Result<i64, Malformed> {
        self.array(field).map(i64::from_be_bytes)
    }

    /// The number of elements of an array; null counts as none.
    pub(super) fn count(&mut self, field: &'static str) -> Result<usize, Malformed> {
        Ok(usize::try_from(self.i32(field)?).unwrap_or(0))
    }

    /// A string; null is empty.
    pub(super) fn string(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let size = usize::try_from(self.i16(field)?).unwrap_or(0);
        self.bytes(size, field)
    }

    pub(super) fn unsigned_varint(&mut self, field: &'static str) -> Result<u32, Malformed> {
        let (start, mut value) = (self.at, 0_u32);
        for shift in (0..35).step_by(7) {
            let [byte] = self.array(field)?;
            if shift == 28 && byte > 0x0f {
                return Err(Malformed { field, at: start });
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed { field, at: start })
    }

    /// The number of elements of a compact array, or bytes of a compact string; null counts as none.
    pub(super) fn compact_count(&mut self, field: &'static str) -> Result<usize, Malformed> {
        Ok(self.unsigned_varint(field)?.saturating_sub(1) as usize)
    }

    pub(super) fn compact_bytes(&mut self, field: &'static str) -> Result<&'a [u8], Malformed> {
        let size = self.compact_count(field)?;
        self.bytes(size, field)
    }

    /// Passes over tagged fields (KIP-482).
    pub(super) fn tagged_fields(&mut self) -> Result<(), Malformed> {
        const FIELD: &str = "tagged fields";
        for _ in 0..self.unsigned_varint(FIELD)? {
            self.unsigned_varint(FIELD)?;
            let size = self.unsigned_varint(FIELD)? as usize;
            self.bytes(size, FIELD)?;
        }
        Ok(())
    }
}

/// Appends an unsigned varint.
pub(super) fn put_unsigned_varint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a string of the non-compact kind.
pub(super) fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as i16).to_be_bytes());
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsigned_varints_come_back() {
        for value in [0, 1, 127, 128, 300, 1 << 21, u32::MAX - 1, u32::MAX] {
            let mut bytes = Vec::new();
            put_unsigned_varint(&mut bytes, value);
            let mut reader = Reader::new(&bytes);
            assert_eq!((reader.unsigned_varint("n"), reader.position()), (Ok(value), bytes.len()));
        }
        for wrong in [&[0x80_u8][..], &[0xff; 5], &[0xff, 0xff, 0xff, 0xff, 0x10]] {
            assert!(Reader::new(wrong).unsigned_varint("n").is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_said_by_name_and_place() {
        let mut reader = Reader::new(&[0, 1, 0, 9, b'a']);
        assert_eq!(reader.i16("code"), Ok(1));
        assert_eq!(reader.string("name"), Err(Malformed { field: "name", at: 4 }));
    }
}
