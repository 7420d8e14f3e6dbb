//! An image as bytes: what a node starts from, and what a member that is far behind is sent.
//!
//! Sections, each with its length (u32, little endian) in front and a version and checksum of its own: first what the image
//! covers and how many records follow, then the records in pieces. Two nodes at one place of the log make the same bytes.

use super::stored::{LogIdForm, StoredMembershipForm};
use super::{LogId, SnapshotMeta, StoredMembership};
use crate::checked::{CodecError, Format};
use crate::image::{ApplyError, MetadataImage};
use crate::record::MetadataRecord;
use crate::record::codec;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A snapshot's bytes. `Clone` is cheap.
pub type SnapshotBytes = Arc<[u8]>;

const HEAD: Format = Format { what: "metadata snapshot", version: 1, oldest: 1 };
/// Records per section: some 100 KiB.
const SECTION_RECORDS: usize = 1000;
const LENGTH_BYTES: usize = 4;

/// Why bytes are no snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    #[error("metadata snapshot of {found_bytes} bytes ends within the section at byte {at}")]
    Truncated { at: usize, found_bytes: usize },
    #[error("metadata snapshot is damaged at byte {at}: {source}")]
    Section { at: usize, source: CodecError },
    #[error("metadata snapshot is damaged: {0}")]
    Record(#[from] ApplyError),
    #[error("metadata snapshot has {found} records, its head says {expected}")]
    RecordCount { expected: u64, found: u64 },
}

/// What is known at one place of the log.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    pub image: MetadataImage,
    /// The last entry that went into the image.
    pub last_applied: Option<LogId>,
    pub membership: StoredMembership,
}

#[derive(Serialize, Deserialize)]
struct HeadForm {
    metadata_offset: u64,
    last_applied: Option<LogIdForm>,
    membership: StoredMembershipForm,
    records: u64,
}

impl State {
    /// How openraft calls a snapshot of this state.
    #[must_use]
    pub fn meta(&self) -> SnapshotMeta {
        let snapshot_id = match self.last_applied {
            Some(id) => format!("{}-{}-{}", id.leader_id.term, id.leader_id.node_id, id.index),
            None => "empty".to_owned(),
        };
        SnapshotMeta { last_log_id: self.last_applied, last_membership: self.membership.clone(), snapshot_id }
    }

    #[must_use]
    pub fn encode(&self) -> SnapshotBytes {
        let records: Vec<MetadataRecord> = self.image.to_records().collect();
        let head = HeadForm {
            metadata_offset: self.image.metadata_offset(),
            last_applied: self.last_applied.map(LogIdForm::from),
            membership: StoredMembershipForm::from(&self.membership),
            records: records.len() as u64,
        };
        let mut bytes = Vec::new();
        let mut put = |section: &[u8]| {
            let length = u32::try_from(section.len()).expect("a section is some hundred KiB");
            bytes.extend_from_slice(&length.to_le_bytes());
            bytes.extend_from_slice(section);
        };
        put(&HEAD.encode(&head));
        records.chunks(SECTION_RECORDS).for_each(|section| put(&codec::encode(section)));
        bytes.into()
    }

    /// What [`State::encode`] was given; any other bytes are an error.
    pub fn decode(bytes: &[u8]) -> Result<State, SnapshotError> {
        let mut sections = Sections { bytes, at: 0 };
        let (at, section) = sections.next().unwrap_or(Err(sections.truncated()))?;
        let head: HeadForm = HEAD.decode(section).map_err(|source| SnapshotError::Section { at, source })?;
        let mut image = MetadataImage::default();
        for section in sections {
            let (at, section) = section?;
            let records = codec::decode(section).map_err(|source| SnapshotError::Section { at, source })?;
            records.iter().try_for_each(|record| image.apply_in_place(record))?;
        }
        let (expected, found) = (head.records, image.metadata_offset());
        if expected != found {
            return Err(SnapshotError::RecordCount { expected, found });
        }
        Ok(State {
            image: image.at_metadata_offset(head.metadata_offset),
            last_applied: head.last_applied.map(LogId::from),
            membership: head.membership.into(),
        })
    }
}

/// Walks over sections: where each begins, and what is in it.
struct Sections<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Sections<'_> {
    fn truncated(&self) -> SnapshotError {
        SnapshotError::Truncated { at: self.at, found_bytes: self.bytes.len() }
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = Result<(usize, &'a [u8]), SnapshotError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return None;
        }
        let section = rest.split_first_chunk::<LENGTH_BYTES>().and_then(|(length, rest)| {
            let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
            rest.get(..length)
        });
        let Some(section) = section else {
            let error = self.truncated();
            self.at = self.bytes.len();
            return Some(Err(error));
        };
        let at = self.at;
        self.at += LENGTH_BYTES + section.len();
        Some(Ok((at, section)))
    }
}
