//! Producer ids, given away in blocks so that InitProducerId costs a commit only now and then (KIP-730).

use crate::image::MetadataImage;
use crate::record::MetadataRecord;
use protocol::newtypes::ProducerId;
use serde::{Deserialize, Serialize};

/// Ids in a block, as in Kafka. What a broker has not used of a block when it ends is lost, and nobody misses it.
pub const PRODUCER_ID_BLOCK_LENGTH: i64 = 1000;

/// Ids that are given to one broker and to no other, ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    /// Ids in the block.
    pub length: i64,
}

/// There are no producer ids left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("producer ids are exhausted: the next would be {next}")]
pub struct ProducerIdsExhausted {
    pub next: ProducerId,
}

/// The next block. It may be used once the record is committed.
pub fn allocate_producer_ids(image: &MetadataImage) -> Result<(MetadataRecord, ProducerIdBlock), ProducerIdsExhausted> {
    let first = image.next_producer_id();
    match first.0.checked_add(PRODUCER_ID_BLOCK_LENGTH) {
        Some(next) => {
            let record = MetadataRecord::ProducerIdsAllocated { next: ProducerId(next) };
            Ok((record, ProducerIdBlock { first, length: PRODUCER_ID_BLOCK_LENGTH }))
        }
        None => Err(ProducerIdsExhausted { next: first }),
    }
}
