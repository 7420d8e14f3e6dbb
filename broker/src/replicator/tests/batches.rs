//! Batches, and how logs end with them.

use protocol::record_batch::BatchHeader;
use protocol::records::BatchBuilder;
use protocol::{LeaderEpoch, Offset};
use replication::divergence::{BatchMark, LogTail};

use crate::clock::now_ms;

/// A batch of `records` records, as a leader's log has it.
pub fn batch(base_offset: i64, leader_epoch: i32, records: usize) -> Vec<u8> {
    large_batch(base_offset, leader_epoch, records, 10)
}

/// As [`batch`], with so many bytes in each record.
pub fn large_batch(base_offset: i64, leader_epoch: i32, records: usize, bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new().base_offset(Offset(base_offset)).leader_epoch(LeaderEpoch(leader_epoch));
    // Each batch has a content of its own.
    let value: Vec<u8> = format!("{base_offset},{leader_epoch};").bytes().cycle().take(bytes).collect();
    for _ in 0..records {
        builder.append(now_ms(), None, Some(&value), &[]);
    }
    builder.build()
}

/// A batch with one record of so many bytes, as producers send it.
pub fn unsent_batch(bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    builder.append(now_ms(), None, Some(&vec![b'v'; bytes]), &[]);
    builder.build()
}

/// The headers of batches that lie one behind the other, each checked.
pub fn headers(mut batches: &[u8]) -> Vec<BatchHeader> {
    let mut headers = Vec::new();
    while !batches.is_empty() {
        let header = BatchHeader::parse(batches).unwrap();
        header.verify_crc(batches).unwrap();
        batches = &batches[header.size_bytes..];
        headers.push(header);
    }
    headers
}

/// The end of a log whose last batch is `last`.
pub fn tail(last: &[u8]) -> LogTail {
    let header = BatchHeader::parse(last).unwrap();
    LogTail { log_end: header.next_offset(), latest_epoch: header.leader_epoch, last_batch: BatchMark::of(&header) }
}

/// A log in which nothing is.
pub fn empty_at(at: i64) -> LogTail {
    LogTail { log_end: Offset(at), latest_epoch: LeaderEpoch::UNKNOWN, last_batch: None }
}
