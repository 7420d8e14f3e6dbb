//! Producer state and leader epochs of a log at one offset, kept in `<offset %020>.snapshot`.
//!
//! Written when a segment is sealed and when a log closes, so that recovery replays the last segment only, and so that
//! both survive retention, after which the log alone no longer has them.

use std::path::Path;

use protocol::Offset;

use crate::file::{IoError, Storage};
use crate::leader_epoch_cache::LeaderEpochCache;
use crate::producer_state::ProducerStateTable;
use crate::segment::{NameKind, file_name};
use crate::sidecar::{self, Content, Kind};

/// What a log derives from its batches and cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DerivedState {
    pub producers: ProducerStateTable,
    pub epochs: LeaderEpochCache,
}

impl DerivedState {
    /// Of a log that begins at `start`.
    pub(crate) fn new(start: Offset) -> DerivedState {
        DerivedState { producers: ProducerStateTable::new(start), epochs: LeaderEpochCache::new() }
    }
}

/// Writes the state at `offset`. The caller syncs the directory.
pub(crate) async fn write<S: Storage>(
    storage: &S,
    dir: &Path,
    offset: Offset,
    producers: &[u8],
    epochs: &[u8],
) -> Result<(), IoError> {
    let mut payload = Vec::with_capacity(16 + producers.len() + epochs.len());
    payload.extend_from_slice(&offset.0.to_le_bytes());
    payload.extend_from_slice(&(producers.len() as u64).to_le_bytes());
    payload.extend_from_slice(producers);
    payload.extend_from_slice(epochs);
    sidecar::write(storage, dir, &file_name(offset, NameKind::State), Kind::State, &payload).await
}

/// Reads the state at `offset`; `None` if it is missing or damaged.
pub(crate) async fn read<S: Storage>(storage: &S, dir: &Path, offset: Offset) -> Result<Option<DerivedState>, IoError> {
    let content = sidecar::read(storage, dir, &file_name(offset, NameKind::State), Kind::State).await?;
    let Content::Payload(payload) = content else { return Ok(None) };
    Ok(decode(&payload, offset))
}

fn decode(payload: &[u8], offset: Offset) -> Option<DerivedState> {
    let (found_offset, rest) = payload.split_first_chunk::<8>()?;
    let (producers_bytes, rest) = rest.split_first_chunk::<8>()?;
    let producers_bytes = usize::try_from(u64::from_le_bytes(*producers_bytes)).ok()?;
    let (producers, epochs) = rest.split_at_checked(producers_bytes)?;
    if i64::from_le_bytes(*found_offset) != offset.0 {
        return None;
    }
    let producers = ProducerStateTable::restore(producers).ok()?;
    let epochs = LeaderEpochCache::decode(epochs).ok()?;
    Some(DerivedState { producers, epochs })
}
