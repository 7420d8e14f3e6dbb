//! The records of `__consumer_offsets`, in Kafka's own format.
//!
//! A key begins with its type ([`RecordKey`]), a value with the version of its own schema. Values of classic groups are
//! [`OffsetCommitValue`] and [`GroupMetadataValue`], those of consumer groups (KIP-848) are in [`consumer_group`]. Records of
//! share and streams groups (key types 9-15 and 17 on) are unknown types.
//!
//! Decoders take any bytes: they never panic and allocate no more than a small multiple of what they are given. Tagged
//! fields that they do not know are skipped; a version that they do not know is an error.

mod codec;
pub mod consumer_group;
mod group_metadata;
mod key;
mod offset_commit;

pub(super) use codec::Reader;
pub use codec::{DecodeError, EncodeError, STRING_BYTES_MAX};
pub use group_metadata::{GroupMetadataValue, MemberMetadata};
pub use key::RecordKey;
pub use offset_commit::OffsetCommitValue;
