//! Kafka's primitive types, written to a buffer and taken off untrusted bytes.

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::protocol::StrBytes;
use protocol::TopicId;

/// From this version of a classic value on, strings and arrays are compact and structures end in tagged fields.
pub(super) const FLEXIBLE_VERSION: i16 = 4;

/// The longest string that a record can hold.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why bytes are not a record of `__consumer_offsets` that this broker understands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{field} needs {need} bytes and {have} are left")]
    Truncated { field: &'static str, need: usize, have: usize },
    #[error("{field} has the impossible length {length}")]
    Length { field: &'static str, length: i64 },
    #[error("{field} is not UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("{field} has version {version}; 0 to {max} are known")]
    Version { field: &'static str, version: i16, max: i16 },
    #[error("record type {key_type} is not one of a classic (0-2) or consumer group (3-8, 16)")]
    UnknownType { key_type: i16 },
}

/// Why a record cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{field} has {length} bytes; a record holds at most {STRING_BYTES_MAX}")]
    StringTooLong { field: &'static str, length: usize },
    #[error("{field} has {length} bytes; a record holds at most {max}", max = i32::MAX)]
    BytesTooLong { field: &'static str, length: usize },
}

pub(super) fn put_string(buffer: &mut BytesMut, field: &'static str, string: &StrBytes) -> Result<(), EncodeError> {
    let length = i16::try_from(string.len()).map_err(|_| EncodeError::StringTooLong { field, length: string.len() })?;
    buffer.put_i16(length);
    buffer.put_slice(string.as_bytes());
    Ok(())
}

pub(super) fn put_nullable_string(
    buffer: &mut BytesMut,
    field: &'static str,
    string: Option<&StrBytes>,
) -> Result<(), EncodeError> {
    match string {
        Some(string) => put_string(buffer, field, string),
        None => {
            buffer.put_i16(-1);
            Ok(())
        }
    }
}

pub(super) fn put_compact_string(
    buffer: &mut BytesMut,
    field: &'static str,
    string: &StrBytes,
) -> Result<(), EncodeError> {
    if string.len() > STRING_BYTES_MAX {
        return Err(EncodeError::StringTooLong { field, length: string.len() });
    }
    put_varint(buffer, string.len() as u32 + 1);
    buffer.put_slice(string.as_bytes());
    Ok(())
}

pub(super) fn put_compact_nullable_string(
    buffer: &mut BytesMut,
    field: &'static str,
    string: Option<&StrBytes>,
) -> Result<(), EncodeError> {
    match string {
        Some(string) => put_compact_string(buffer, field, string),
        None => {
            put_varint(buffer, 0);
            Ok(())
        }
    }
}

pub(super) fn put_compact_bytes(buffer: &mut BytesMut, field: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
    put_compact_length(buffer, field, bytes.len())?;
    buffer.put_slice(bytes);
    Ok(())
}

/// The length of a compact array or of compact bytes.
pub(super) fn put_compact_length(buffer: &mut BytesMut, field: &'static str, length: usize) -> Result<(), EncodeError> {
    put_varint(buffer, length_i32(field, length)? as u32 + 1);
    Ok(())
}

pub(super) fn put_uuid(buffer: &mut BytesMut, id: TopicId) {
    buffer.put_slice(id.0.as_bytes());
}

/// One tagged field; the number of them comes first ([`put_varint`]).
pub(super) fn put_tagged_field(
    buffer: &mut BytesMut,
    field: &'static str,
    tag: u32,
    value: &[u8],
) -> Result<(), EncodeError> {
    put_varint(buffer, tag);
    put_varint(buffer, length_i32(field, value.len())? as u32);
    buffer.put_slice(value);
    Ok(())
}

pub(super) fn put_bytes(buffer: &mut BytesMut, field: &'static str, bytes: &[u8]) -> Result<(), EncodeError> {
    buffer.put_i32(length_i32(field, bytes.len())?);
    buffer.put_slice(bytes);
    Ok(())
}

pub(super) fn length_i32(field: &'static str, length: usize) -> Result<i32, EncodeError> {
    i32::try_from(length).map_err(|_| EncodeError::BytesTooLong { field, length })
}

pub(super) fn put_varint(buffer: &mut BytesMut, mut value: u32) {
    while value >= 0x80 {
        buffer.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    buffer.put_u8(value as u8);
}

/// Takes Kafka's primitive types off the front of untrusted bytes.
pub(in crate::groups) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(in crate::groups) fn new(bytes: &'a [u8]) -> Self {
        Reader { bytes }
    }

    pub(super) fn left(&self) -> usize {
        self.bytes.len()
    }

    fn take(&mut self, field: &'static str, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or(DecodeError::Truncated {
            field,
            need: count,
            have: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (taken, rest) = self.bytes.split_first_chunk::<N>().ok_or(DecodeError::Truncated {
            field: "integer",
            need: N,
            have: self.bytes.len(),
        })?;
        self.bytes = rest;
        Ok(*taken)
    }

    pub(super) fn i8(&mut self) -> Result<i8, DecodeError> {
        self.array().map(i8::from_be_bytes)
    }

    pub(in crate::groups) fn i16(&mut self) -> Result<i16, DecodeError> {
        self.array().map(i16::from_be_bytes)
    }

    pub(in crate::groups) fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    pub(super) fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    pub(in crate::groups) fn skip(&mut self, count: usize) -> Result<(), DecodeError> {
        self.take("bytes", count).map(|_| ())
    }

    /// An unsigned varint of at most five bytes.
    fn varint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for shift in 0..5 {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << (7 * shift);
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Length { field: "varint", length: value as i64 });
            }
        }
        Err(DecodeError::Length { field: "varint", length: value as i64 })
    }

    pub(super) fn uuid(&mut self) -> Result<TopicId, DecodeError> {
        self.array().map(|bytes| TopicId(uuid::Uuid::from_bytes(bytes)))
    }

    pub(super) fn version(&mut self, field: &'static str, max: i16) -> Result<i16, DecodeError> {
        let version = self.i16()?;
        if (0..=max).contains(&version) { Ok(version) } else { Err(DecodeError::Version { field, version, max }) }
    }

    /// A string with an INT16 length; null is an error.
    pub(in crate::groups) fn string(&mut self, field: &'static str) -> Result<&'a str, DecodeError> {
        let length = self.i16()?;
        let count = usize::try_from(length).map_err(|_| DecodeError::Length { field, length: length.into() })?;
        std::str::from_utf8(self.take(field, count)?).map_err(|_| DecodeError::NotUtf8 { field })
    }

    pub(super) fn owned_string(&mut self, field: &'static str) -> Result<StrBytes, DecodeError> {
        self.string(field).map(|s| StrBytes::from_string(s.to_owned()))
    }

    pub(super) fn string_of(&mut self, version: i16, field: &'static str) -> Result<StrBytes, DecodeError> {
        self.nullable_string_of(version, field)?.ok_or(DecodeError::Length { field, length: -1 })
    }

    pub(in crate::groups) fn nullable_string_of(
        &mut self,
        version: i16,
        field: &'static str,
    ) -> Result<Option<StrBytes>, DecodeError> {
        if version >= FLEXIBLE_VERSION {
            return self.compact_nullable_string(field);
        }
        let length = self.i16()?;
        self.nullable_string(field, length.into())
    }

    pub(super) fn bytes_of(&mut self, version: i16, field: &'static str) -> Result<Bytes, DecodeError> {
        if version >= FLEXIBLE_VERSION {
            return self.compact_bytes(field);
        }
        let length = self.i32()?;
        self.bytes(field, length.into())
    }

    pub(super) fn array_length_of(&mut self, version: i16, field: &'static str) -> Result<usize, DecodeError> {
        if version >= FLEXIBLE_VERSION {
            return self.compact_array_length(field);
        }
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| DecodeError::Length { field, length: length.into() })
    }

    pub(super) fn compact_string(&mut self, field: &'static str) -> Result<StrBytes, DecodeError> {
        self.compact_nullable_string(field)?.ok_or(DecodeError::Length { field, length: -1 })
    }

    pub(super) fn compact_nullable_string(&mut self, field: &'static str) -> Result<Option<StrBytes>, DecodeError> {
        let length = self.compact_length()?;
        if length > STRING_BYTES_MAX as i64 {
            return Err(DecodeError::Length { field, length });
        }
        self.nullable_string(field, length)
    }

    pub(super) fn compact_bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        let length = self.compact_length()?;
        self.bytes(field, length)
    }

    /// The number of elements that a compact array announces; null is an error. It says nothing about how many there are.
    pub(super) fn compact_array_length(&mut self, field: &'static str) -> Result<usize, DecodeError> {
        self.compact_nullable_array_length(field)?.ok_or(DecodeError::Length { field, length: -1 })
    }

    pub(super) fn compact_nullable_array_length(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        match self.compact_length()? {
            -1 => Ok(None),
            length => usize::try_from(length).map(Some).map_err(|_| DecodeError::Length { field, length }),
        }
    }

    /// A compact length; -1 for null.
    fn compact_length(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from(self.varint()?) - 1)
    }

    fn nullable_string(&mut self, field: &'static str, length: i64) -> Result<Option<StrBytes>, DecodeError> {
        self.sized(field, length)?
            .map(|bytes| std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8 { field }))
            .transpose()
            .map(|string| string.map(|s| StrBytes::from_string(s.to_owned())))
    }

    fn bytes(&mut self, field: &'static str, length: i64) -> Result<Bytes, DecodeError> {
        let bytes = self.sized(field, length)?.ok_or(DecodeError::Length { field, length: -1 })?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    fn sized(&mut self, field: &'static str, length: i64) -> Result<Option<&'a [u8]>, DecodeError> {
        if length == -1 {
            return Ok(None);
        }
        let count = usize::try_from(length).map_err(|_| DecodeError::Length { field, length })?;
        self.take(field, count).map(Some)
    }

    /// Hands every tagged field to `field`, which ignores those that it does not know.
    pub(super) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(u32, &'a [u8]) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        let count = self.varint()?;
        for _ in 0..count {
            let tag = self.varint()?;
            let length = self.varint()?;
            field(tag, self.take("tagged field", length as usize)?)?;
        }
        Ok(())
    }

    pub(super) fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(()))
    }
}
