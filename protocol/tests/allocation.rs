//! Decoding allocates in proportion to the bytes that arrived, whatever they announce.
//!
//! Without the test harness: the allocator counts for all threads, the harness's too.

use std::alloc::System;

use bytes::Bytes;
use protocol::ApiKey;
use protocol::record_batch::{Compression, HEADER_BYTES};
use protocol::records::{BatchBuilder, RecordsError, summarize};
use protocol::request::decode_request;
use protocol::request_guard::ELEMENTS_MAX;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// The densest request is of two-byte elements that become structs of about sixty bytes.
const BYTES_PER_REQUEST_BYTE: usize = 64;
/// Errors, and what growing from nothing costs.
const BYTES_PER_REQUEST: usize = 4 * 1024;

/// Decodes, and gives the bytes allocated meanwhile and whether it was a request.
fn decode(frame: Vec<u8>) -> (usize, bool) {
    let frame = Bytes::from(frame);
    let region = Region::new(ALLOCATOR);
    let decoded = decode_request(frame).is_ok();
    (region.change().bytes_allocated, decoded)
}

fn frame(api: ApiKey, version: i16, body: &[u8]) -> Vec<u8> {
    let tagged: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
    [&api.key().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9, 0xff, 0xff], tagged, body].concat()
}

fn main() {
    small_requests_that_announce_much();
    the_densest_requests();
    snappy_blocks_that_claim_gigabytes();
    println!("memory follows what arrived ... ok");
}

/// One absurd length after any number of plausible bytes.
fn small_requests_that_announce_much() {
    let absurd: [&[u8]; 4] = [&[0x7f, 0xff, 0xff, 0xff], &[0xff, 0xff, 0xff, 0xff, 0x0f], &[0x7f, 0xff], &[0xfe, 0x7f]];
    let mut refused = 0;
    for &api in ApiKey::ALL {
        for version in api.served().min..=api.served().max {
            for (filler, before) in [0u8, 1, 2].into_iter().flat_map(|filler| (0..48).map(move |n| (filler, n))) {
                for length in absurd {
                    let body = [&vec![filler; before][..], length, &[1; 16]].concat();
                    let frame = frame(api, version, &body);
                    let limit = BYTES_PER_REQUEST + BYTES_PER_REQUEST_BYTE * frame.len();
                    let (allocated, decoded) = decode(frame);
                    assert!(allocated <= limit, "{api} {version}: {allocated} bytes for {body:x?}");
                    refused += u32::from(!decoded);
                }
            }
        }
    }
    assert!(refused > 10_000, "only {refused} requests were absurd enough to be refused");
}

/// As many of the smallest elements as one request may have.
fn the_densest_requests() {
    let count = ELEMENTS_MAX as u32;
    let varint = [count as u8 | 0x80, (count >> 7) as u8 | 0x80, (count >> 14) as u8 | 0x80, (count >> 21) as u8];
    let dense = |element: &[u8], after: &[u8]| {
        let mut body = varint.to_vec();
        // A compact count is one more than the count.
        (1..count).for_each(|_| body.extend_from_slice(element));
        body.extend_from_slice(after);
        body
    };
    let requests = [
        (ApiKey::DescribeTopicPartitions, 0, dense(&[1, 0], &[0, 0, 0, 1, 0xff, 0])),
        (ApiKey::DescribeGroups, 6, dense(&[1], &[0, 0])),
        (ApiKey::Metadata, 9, dense(&[1, 0], &[0, 0, 0, 0])),
        (ApiKey::DescribeLogDirs, 2, dense(&[1, 1, 0], &[0])),
    ];
    for (api, version, body) in requests {
        let bytes = body.len();
        let (allocated, decoded) = decode(frame(api, version, &body));
        assert!(decoded, "{api} {version} with {bytes} bytes was refused");
        let limit = BYTES_PER_REQUEST + BYTES_PER_REQUEST_BYTE * bytes;
        assert!(allocated <= limit, "{api} {version}: {allocated} bytes for {bytes}");
    }
}

fn snappy_blocks_that_claim_gigabytes() {
    let mut batch = BatchBuilder::new().compression(Compression::Snappy).build()[..HEADER_BYTES].to_vec();
    // A bare block of nothing but its preamble: four gigabytes less one.
    batch.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[57..61].copy_from_slice(&1i32.to_be_bytes());
    let region = Region::new(ALLOCATOR);
    let summary = summarize(&batch, u64::MAX);
    let allocated = region.change().bytes_allocated;
    assert!(matches!(summary, Err(RecordsError::Decompress(_))), "{summary:?}");
    assert!(allocated < 64 * 1024, "{allocated} bytes for {} of a batch", batch.len());
}
