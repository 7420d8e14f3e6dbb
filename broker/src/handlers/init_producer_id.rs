//! InitProducerId (key 22), versions 0-5, for idempotent producers (KIP-98).
//!
//! Ids come in blocks from the metadata core, which makes a block durable before it gives it away: an id is never given
//! twice, whatever crashes. A shard uses up its block and asks for another; what is left of a block at a restart is lost.
//! Transactions are not served, and a transactional id is refused.

use std::cell::Cell;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::Context;
use crate::logging::limit;
use crate::metadata_core::RequestFailed;
use crate::metadata_core::request::AllocateProducerIds;
use crate::shard::Shard;
use crate::shard::event::LocalEvent;

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
        if limit::REQUEST_FAILED.admit() {
            tracing::warn!(peer = %context.connection.peer, "a transactional producer was refused: transactions are not served");
        }
        return refused(ResponseError::InvalidRequest);
    }
    match next_id(context.shard()).await {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(EPOCH_FIRST),
        Err(error) => {
            if limit::REQUEST_FAILED.admit() {
                tracing::error!(%error, "no producer id could be allocated");
            }
            refused(error.code())
        }
    }
}

async fn next_id(shard: &Shard) -> Result<i64, RequestFailed> {
    let ids = shard.producer_ids();
    loop {
        if let Some(id) = ids.take() {
            return Ok(id);
        }
        if ids.refilling.replace(true) {
            // One block serves all who wait.
            ids.refilled.listen().await;
            continue;
        }
        let _refill = Refill(ids);
        let block = shard.metadata().ask(AllocateProducerIds).await?.map_err(RequestFailed::Refused)?;
        ids.next.set(block.first.0);
        ids.left.set(block.length);
    }
}

/// The ids that a shard may give away.
#[derive(Default)]
pub struct ProducerIds {
    next: Cell<i64>,
    left: Cell<i64>,
    refilling: Cell<bool>,
    refilled: LocalEvent,
}

/// A refill under way; whatever becomes of it, those who wait look again.
struct Refill<'a>(&'a ProducerIds);

impl Drop for Refill<'_> {
    fn drop(&mut self) {
        self.0.refilling.set(false);
        self.0.refilled.notify();
    }
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
}
