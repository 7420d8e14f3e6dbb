//! Walks a request body before it is decoded, and refuses what would make the decoder allocate without bound.
//!
//! The message library allocates for as many array elements as the wire announces, so twenty bytes that announce 2^31
//! elements would end the process. The guard reads every length and count of the body, in place and allocating nothing,
//! by the layouts in `schema`: an array needs at least as many bytes as its elements take at the least, strings and
//! bytes lie within the body, tagged fields have the size they say, and all elements together stay below
//! [`ELEMENTS_MAX`]. What passes can be decoded in memory proportional to its own size.
//!
//! Bytes after the last field are tolerated, as in Kafka. Text is not checked for UTF-8: the decoder does that.

use crate::api_versions::ApiKey;

pub(crate) mod schema;
#[cfg(test)]
pub(crate) mod tests;

use schema::{Field, Kind, fields_of};

/// Structs, strings in arrays, and tagged fields that one request may hold in total. Each costs up to about 200 bytes
/// once decoded, and as little as one on the wire; real requests stay far below.
pub const ELEMENTS_MAX: usize = 1 << 18;
/// Plain numbers in arrays (partitions, mostly) that one request may hold in total.
pub const FIXED_ELEMENTS_MAX: usize = 1 << 20;
/// Bytes of a string, as in Kafka, compact or not.
pub const STRING_BYTES_MAX: usize = i16::MAX as usize;

/// Why a request body cannot be decoded, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at byte {at}, field {field}: {fault}")]
pub struct GuardError {
    /// Offset within the body.
    pub at: usize,
    /// Name in the protocol's message definition.
    pub field: &'static str,
    pub fault: Fault,
}

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    #[error("{need} bytes needed, {have} left")]
    PastEnd { need: u64, have: usize },
    #[error("{count} elements announced, which take at least {need} bytes, {have} left")]
    TooManyElements { count: u64, need: u64, have: usize },
    #[error("more than {limit} elements in one message")]
    ElementBudget { limit: usize },
    #[error("length {length} is negative")]
    NegativeLength { length: i64 },
    #[error("null is not allowed here")]
    Null,
    #[error("string of {length} bytes is longer than {limit}")]
    StringTooLong { length: u64, limit: usize },
    #[error("variable-length integer does not fit 32 bits")]
    VarintTooLong,
    #[error("tagged field {tag} takes {found} bytes, its size says {expected}")]
    TagSize { tag: u32, expected: usize, found: usize },
    #[error("tagged field {tag} does not belong to version {version}")]
    TagVersion { tag: u32, version: i16 },
    #[error("presence byte is {found}, expected 1 or -1")]
    Presence { found: i8 },
}

/// What a body that passed is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Measured {
    /// Bytes that its fields take.
    pub bytes: usize,
    /// Structs, strings in arrays, and tagged fields.
    pub elements: usize,
    /// Plain numbers in arrays.
    pub fixed_elements: usize,
}

/// Checks `body`, a request of `api` in `version` without its header, and gives the number of bytes that its fields
/// take.
///
/// # Panics
/// Never on any bytes. `version` must be one that is served.
pub fn check(api: ApiKey, version: i16, body: &[u8]) -> Result<usize, GuardError> {
    measure(api, version, body).map(|measured| measured.bytes)
}

/// As [`check`], and tells how much there is in it.
///
/// # Panics
/// As [`check`].
pub fn measure(api: ApiKey, version: i16, body: &[u8]) -> Result<Measured, GuardError> {
    let limits = Limits { elements: ELEMENTS_MAX, fixed_elements: FIXED_ELEMENTS_MAX };
    walk(fields_of(api), api, version, body, limits)
}

/// How much one body may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) elements: usize,
    pub(crate) fixed_elements: usize,
}

/// Checks a body of `fields`, of a message of `api`, as [`measure`] does.
pub(crate) fn walk(
    fields: &'static [Field],
    api: ApiKey,
    version: i16,
    body: &[u8],
    limits: Limits,
) -> Result<Measured, GuardError> {
    let mut walker = Walker::new(body, version, api.is_flexible(version), limits, api.name());
    walker.fields(fields)?;
    Ok(Measured { bytes: walker.at, elements: walker.elements, fixed_elements: walker.fixed_elements })
}

/// Checks the tagged fields that start at `bytes[0]`, none of them known, and gives the bytes they take. For headers.
pub(crate) fn check_tagged_fields(bytes: &[u8]) -> Result<usize, GuardError> {
    let limits = Limits { elements: ELEMENTS_MAX, fixed_elements: FIXED_ELEMENTS_MAX };
    let mut walker = Walker::new(bytes, 0, true, limits, "tagged fields");
    walker.tagged_fields(&[])?;
    Ok(walker.at)
}

struct Walker<'a> {
    body: &'a [u8],
    at: usize,
    version: i16,
    flexible: bool,
    limits: Limits,
    /// Elements met so far, against the limit.
    elements: usize,
    /// Numbers in arrays met so far, against the limit.
    fixed_elements: usize,
    /// The field that is being walked, for errors.
    field: &'static str,
}

impl<'a> Walker<'a> {
    fn new(body: &'a [u8], version: i16, flexible: bool, limits: Limits, field: &'static str) -> Walker<'a> {
        Walker { body, at: 0, version, flexible, limits, elements: 0, fixed_elements: 0, field }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), GuardError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.is_in(version) && field.tag.is_none()) {
            self.value(field)?;
        }
        if self.flexible { self.tagged_fields(fields) } else { Ok(()) }
    }

    fn value(&mut self, field: &'static Field) -> Result<(), GuardError> {
        self.field = field.name;
        let nullable = field.is_nullable_in(self.version);
        match field.kind {
            Kind::Fixed(size) => self.skip(size as u64),
            Kind::String => self.string(nullable),
            Kind::Bytes => match self.length_or_count(nullable)? {
                Some(length) => self.skip(length),
                None => Ok(()),
            },
            Kind::ArrayOfFixed(size) => match self.length_or_count(nullable)? {
                // Decoded, these take no more memory than on the wire, so they have a budget of their own: what is done
                // for each of them is what must be bounded.
                Some(count) => {
                    self.skip(count.saturating_mul(size as u64))?;
                    self.fixed_elements = self.fixed_elements.saturating_add(count as usize);
                    if self.fixed_elements > self.limits.fixed_elements {
                        return Err(self.error(Fault::ElementBudget { limit: self.limits.fixed_elements }));
                    }
                    Ok(())
                }
                None => Ok(()),
            },
            Kind::ArrayOfString => {
                let length_bytes = if self.flexible { 1 } else { 2 };
                for _ in 0..self.element_count(nullable, length_bytes)? {
                    self.string(false)?;
                }
                Ok(())
            }
            Kind::Array(element) => {
                let size_min = self.fields_bytes_min(element);
                for _ in 0..self.element_count(nullable, size_min)? {
                    self.fields(element)?;
                    self.field = field.name;
                }
                Ok(())
            }
            Kind::Struct(inner) => self.fields(inner),
            Kind::NullableStruct(inner) => match self.byte()? as i8 {
                1 => self.fields(inner),
                -1 if nullable => Ok(()),
                -1 => Err(self.error(Fault::Null)),
                found => Err(self.error(Fault::Presence { found })),
            },
        }
    }

    fn string(&mut self, nullable: bool) -> Result<(), GuardError> {
        let length = if self.flexible {
            self.compact_length(nullable)?
        } else {
            let length = i16::from_be_bytes(self.take()?);
            self.signed_length(i64::from(length), nullable)?
        };
        let Some(length) = length else { return Ok(()) };
        if length > STRING_BYTES_MAX as u64 {
            return Err(self.error(Fault::StringTooLong { length, limit: STRING_BYTES_MAX }));
        }
        self.skip(length)
    }

    /// Tagged fields (KIP-482): their number, then tag, size and value of each.
    fn tagged_fields(&mut self, known: &'static [Field]) -> Result<(), GuardError> {
        self.field = "tagged fields";
        let count = self.varint()?;
        self.claim_elements(u64::from(count), 2)?;
        for _ in 0..count {
            self.field = "tagged fields";
            let tag = self.varint()?;
            let size = self.varint()?;
            self.require(u64::from(size))?;
            let end = self.at + size as usize;
            match known.iter().find(|field| field.tag == Some(tag)) {
                Some(field) if field.is_in(self.version) => {
                    let start = self.at;
                    self.value(field)?;
                    if self.at != end {
                        let (expected, found) = (size as usize, self.at - start);
                        return Err(self.error(Fault::TagSize { tag, expected, found }));
                    }
                }
                Some(field) => {
                    self.field = field.name;
                    return Err(self.error(Fault::TagVersion { tag, version: self.version }));
                }
                None => self.at = end,
            }
        }
        Ok(())
    }

    /// Count of an array whose elements take at least `size_min` bytes each; 0 for null.
    fn element_count(&mut self, nullable: bool, size_min: usize) -> Result<u64, GuardError> {
        let count = self.length_or_count(nullable)?.unwrap_or(0);
        self.claim_elements(count, size_min)?;
        Ok(count)
    }

    fn claim_elements(&mut self, count: u64, size_min: usize) -> Result<(), GuardError> {
        let (need, have) = (count.saturating_mul(size_min as u64), self.remaining());
        if need > have as u64 {
            return Err(self.error(Fault::TooManyElements { count, need, have }));
        }
        // `count` is below the number of bytes left by now, so it fits.
        self.elements = self.elements.saturating_add(count as usize);
        if self.elements > self.limits.elements {
            return Err(self.error(Fault::ElementBudget { limit: self.limits.elements }));
        }
        Ok(())
    }

    /// Least number of bytes that a struct of these fields takes.
    fn fields_bytes_min(&self, fields: &'static [Field]) -> usize {
        let present = fields.iter().filter(|field| field.is_in(self.version) && field.tag.is_none());
        let of_fields: usize = present
            .map(|field| match field.kind {
                Kind::Fixed(size) => size,
                Kind::String if !self.flexible => 2,
                Kind::Bytes | Kind::ArrayOfFixed(_) | Kind::ArrayOfString | Kind::Array(_) if !self.flexible => 4,
                Kind::String
                | Kind::Bytes
                | Kind::ArrayOfFixed(_)
                | Kind::ArrayOfString
                | Kind::Array(_)
                | Kind::NullableStruct(_) => 1,
                Kind::Struct(inner) => self.fields_bytes_min(inner),
            })
            .sum();
        // A struct of nothing would cost nothing, and any number of them could be announced.
        (of_fields + usize::from(self.flexible)).max(1)
    }

    /// Length of bytes or count of an array: INT32, or a varint one higher than the length.
    fn length_or_count(&mut self, nullable: bool) -> Result<Option<u64>, GuardError> {
        if self.flexible {
            self.compact_length(nullable)
        } else {
            let length = i32::from_be_bytes(self.take()?);
            self.signed_length(i64::from(length), nullable)
        }
    }

    fn compact_length(&mut self, nullable: bool) -> Result<Option<u64>, GuardError> {
        match self.varint()?.checked_sub(1) {
            Some(length) => Ok(Some(u64::from(length))),
            None if nullable => Ok(None),
            None => Err(self.error(Fault::Null)),
        }
    }

    fn signed_length(&self, length: i64, nullable: bool) -> Result<Option<u64>, GuardError> {
        match u64::try_from(length) {
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 && nullable => Ok(None),
            Err(_) if length == -1 => Err(self.error(Fault::Null)),
            Err(_) => Err(self.error(Fault::NegativeLength { length })),
        }
    }

    fn varint(&mut self) -> Result<u32, GuardError> {
        let mut value = 0u32;
        for shift in [0, 7, 14, 21, 28] {
            let byte = self.byte()?;
            if shift == 28 && byte > 0x0f {
                return Err(self.error(Fault::VarintTooLong));
            }
            value |= u32::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                break;
            }
        }
        Ok(value)
    }

    fn byte(&mut self) -> Result<u8, GuardError> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], GuardError> {
        let rest = &self.body[self.at..];
        let bytes =
            *rest.first_chunk::<N>().ok_or_else(|| self.error(Fault::PastEnd { need: N as u64, have: rest.len() }))?;
        self.at += N;
        Ok(bytes)
    }

    fn skip(&mut self, bytes: u64) -> Result<(), GuardError> {
        self.require(bytes)?;
        self.at += bytes as usize;
        Ok(())
    }

    fn require(&self, need: u64) -> Result<(), GuardError> {
        let have = self.remaining();
        if need > have as u64 { Err(self.error(Fault::PastEnd { need, have })) } else { Ok(()) }
    }

    fn remaining(&self) -> usize {
        self.body.len() - self.at
    }

    fn error(&self, fault: Fault) -> GuardError {
        GuardError { at: self.at, field: self.field, fault }
    }
}
