//! InitProducerId (key 22), versions 0-5, for idempotent producers (KIP-98).
//!
//! Ids come in blocks from the metadata core, which makes a block durable before it gives it away: an id is never given
//! twice, whatever crashes. A shard uses up its block and asks for another; what is left of a block at a restart is lost.
//! Transactions are not served, and a transactional id is refused.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Context;
use crate::metadata_core::{MetadataRequest, RequestFailed};
use crate::shard::Shard;

/// Epoch of a new producer.
const EPOCH_FIRST: i16 = 0;

pub async fn handle(context: &Context, request: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    if request.transactional_id.is_some() {
        tracing::warn!(peer = %context.connection.peer, "a transactional producer was refused: transactions are not served");
        return refused(ResponseError::InvalidRequest);
    }
    match next_id(context.shard()).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(EPOCH_FIRST),
        Err(error) => {
            tracing::error!(%error, "no producer id could be allocated");
            refused(error.code())
        }
    }
}

async fn next_id(shard: &Shard) -> Result<i64, RequestFailed> {
    loop {
        if let Some(id) = shard.producer_ids().take() {
            return Ok(id);
        }
        let block = shard.metadata().ask(|reply| MetadataRequest::AllocateProducerIds { reply }).await?;
        shard.producer_ids().refill(block.first.0, block.length);
    }
}

/// The ids that a shard may give away.
#[derive(Default)]
pub struct ProducerIds {
    next: std::cell::Cell<i64>,
    left: std::cell::Cell<i64>,
}

impl ProducerIds {
    fn take(&self) -> Option<i64> {
        let left = self.left.get();
        if left == 0 {
            return None;
        }
        self.left.set(left - 1);
        let id = self.next.get();
        self.next.set(id + 1);
        Some(id)
    }

    /// Several requests may have asked at once; the ids of a block that is replaced are lost, never given twice.
    fn refill(&self, first: i64, length: i64) {
        self.next.set(first);
        self.left.set(length);
    }
}
