//! What the protocol layer does for every produce and fetch, each step by itself: `cargo bench -p ringlog-protocol`.
//!
//! Sizes are the two ends of what clients send: one record of 100 bytes in a batch, and batches of about 64 KiB.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, RequestHeader, TopicName};
use kafka_protocol::protocol::{Encodable, HeaderVersion, StrBytes};
use protocol::api_versions::ApiKey;
use protocol::fetch_response::{FetchPartition, FetchResponse, FetchTopic};
use protocol::frame::{FRAME_BYTES_MAX_DEFAULT, FrameDecoder};
use protocol::header::parse_request_header;
use protocol::produce_records::check_produce_records;
use protocol::record_batch::BatchHeader;
use protocol::records::{BatchBuilder, summarize};
use protocol::request::{Request, decode_request};
use protocol::{Offset, PartitionId, TopicId, request_guard};

const PRODUCE_VERSION: i16 = 9;
const FETCH_VERSION: i16 = 16;
/// `max.message.bytes`.
const BATCH_BYTES_MAX: usize = 1 << 20;
const DECOMPRESSED_BYTES_MAX: u64 = 1 << 20;
/// Requests in the buffer that frames are taken out of.
const FRAMES: usize = 16;

/// A batch of records with 100 bytes of value each, that is to say about 170 and 65,536 bytes.
const BATCHES: [(&str, usize); 2] = [("1 record", 1), ("64 KiB", 610)];

fn batch(records: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    for number in 0..records {
        builder.append(1_700_000_000_000 + number as i64, None, Some(&[b'x'; 100]), &[]);
    }
    builder.build().into()
}

/// A Produce request without its length: `partitions` batches for one topic.
fn produce_frame(partitions: i32, batch: &Bytes) -> Bytes {
    let data = |partition| PartitionProduceData::default().with_index(partition).with_records(Some(batch.clone()));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_static_str("topic")))
        .with_partition_data((0..partitions).map(data).collect());
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let header = RequestHeader::default()
        .with_request_api_key(0)
        .with_request_api_version(PRODUCE_VERSION)
        .with_client_id(Some(StrBytes::from_static_str("bench")));
    let mut frame = BytesMut::new();
    header.encode(&mut frame, ProduceRequest::header_version(PRODUCE_VERSION)).expect("a request is encoded");
    request.encode(&mut frame, PRODUCE_VERSION).expect("a request is encoded");
    frame.freeze()
}

fn batches(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("batch");
    for (name, records) in BATCHES {
        let batch = batch(records);
        let header = BatchHeader::parse(&batch).expect("a good batch");
        group.throughput(Throughput::Bytes(batch.len() as u64));
        group.bench_function(BenchmarkId::new("parse header", name), |bencher| {
            bencher.iter(|| BatchHeader::parse(black_box(&batch)));
        });
        group.bench_function(BenchmarkId::new("verify CRC-32C", name), |bencher| {
            bencher.iter(|| header.verify_crc(black_box(&batch)));
        });
        group.bench_function(BenchmarkId::new("check of a produce", name), |bencher| {
            bencher.iter(|| check_produce_records(PRODUCE_VERSION, black_box(&batch), BATCH_BYTES_MAX));
        });
        group.bench_function(BenchmarkId::new("walk over records", name), |bencher| {
            bencher.iter(|| summarize(black_box(&batch), DECOMPRESSED_BYTES_MAX));
        });
    }
    group.finish();
}

fn frames(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("frame");
    for (name, records) in BATCHES {
        let frame = produce_frame(1, &batch(records));
        let mut received = BytesMut::new();
        for _ in 0..FRAMES {
            received.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            received.extend_from_slice(&frame);
        }
        let decoder = FrameDecoder::new(FRAME_BYTES_MAX_DEFAULT);
        group.throughput(Throughput::Elements(FRAMES as u64));
        group.bench_function(BenchmarkId::new("take out of a buffer", name), |bencher| {
            bencher.iter_batched_ref(
                || received.clone(),
                |buffer| {
                    while let Ok(Some(frame)) = decoder.next_frame(buffer) {
                        black_box(frame);
                    }
                },
                BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn produce_requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("produce request");
    for partitions in [1, 16] {
        let frame = produce_frame(partitions, &batch(1));
        let mut body = frame.clone();
        parse_request_header(&mut body).expect("a good header");
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::new("guard", partitions), |bencher| {
            bencher.iter(|| request_guard::check(ApiKey::Produce, PRODUCE_VERSION, black_box(&body)));
        });
        group.bench_function(BenchmarkId::new("header, guard and decoding", partitions), |bencher| {
            bencher.iter(|| -> Request { decode_request(black_box(frame.clone())).expect("a good request") });
        });
    }
    group.finish();
}

fn fetch_responses(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fetch response");
    for partitions in [1, 16] {
        let records = batch(610);
        let partition = |number| FetchPartition {
            high_watermark: Offset(610),
            last_stable_offset: Offset(610),
            log_start_offset: Offset(0),
            records: vec![records.clone(); 4],
            ..FetchPartition::empty(PartitionId(number), 0)
        };
        let topic = FetchTopic {
            topic_id: TopicId(uuid::Uuid::from_u128(1)),
            partitions: (0..partitions).map(partition).collect(),
            ..FetchTopic::default()
        };
        let response = FetchResponse { topics: vec![topic], ..FetchResponse::default() };
        group.throughput(Throughput::Elements(partitions as u64));
        group.bench_function(BenchmarkId::new("assemble", partitions), |bencher| {
            bencher.iter(|| black_box(&response).encode(FETCH_VERSION, 7));
        });
    }
    group.finish();
}

criterion_group!(hot_loops, batches, frames, produce_requests, fetch_responses);
criterion_main!(hot_loops);
