//! The fuzz targets over a seeded, mutated corpus, so that every test run exercises them without a fuzzer.
//!
//! `RINGLOG_FUZZ_SEED` repeats a run (the seed is part of every panic's output), `RINGLOG_FUZZ_ROUNDS` lengthens it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    CreateTopicsRequest, FetchRequest, GroupId, JoinGroupRequest, MetadataRequest, OffsetCommitRequest, ProduceRequest,
    TopicName,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use protocol::ApiKey;
use protocol::record_batch::Compression;
use protocol::records::BatchBuilder;

#[path = "../fuzz/src/protocol_targets.rs"]
mod targets;

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// One of the corpus, damaged in up to eight places, or now and then something random altogether.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        if corpus.is_empty() || self.below(10) == 0 {
            let length = self.below(200);
            return (0..length).map(|_| self.next() as u8).collect();
        }
        let mut input = corpus[self.below(corpus.len())].clone();
        for _ in 0..self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                0 if at < input.len() => input[at] = self.next() as u8,
                1 if at < input.len() => input[at] ^= 1 << self.below(8),
                2 if at < input.len() => input[at] = [0, 1, 0x7f, 0x80, 0xff][self.below(5)],
                3 => input.truncate(at),
                4 => input.insert(at, self.next() as u8),
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len());
                    input.truncate(at);
                    input.extend_from_slice(&other[from..]);
                }
            }
        }
        input
    }
}

/// Runs `target` over the corpus as it is, and then over damaged copies.
fn smoke(target: fn(&[u8]), corpus: &[Vec<u8>]) {
    let number = |name: &str, default: u64| -> u64 {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
    };
    let seed = number("RINGLOG_FUZZ_SEED", 0x5eed);
    let mut random = Random(seed);
    let rounds = number("RINGLOG_FUZZ_ROUNDS", 20_000) as usize;
    let damaged = (0..rounds).map(|_| random.input(corpus));
    for (round, input) in corpus.iter().cloned().chain(damaged).enumerate() {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(&input))) {
            eprintln!("RINGLOG_FUZZ_SEED={seed}, round {round}, input {input:02x?}");
            resume_unwind(panic);
        }
    }
}

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic(name: &'static str) -> TopicName {
    TopicName(text(name))
}

fn batches() -> Vec<Vec<u8>> {
    let batch = |codec| {
        let mut builder = BatchBuilder::new().compression(codec);
        builder.append(1_000, Some(b"key"), Some(&[b'v'; 100]), &[(b"header", Some(b"value")), (b"null", None)]);
        builder.append(1_001, None, None, &[]);
        builder.build()
    };
    CODECS.map(batch).to_vec()
}

/// The message library does not write this one: a group, two topics by id, two partitions of the first.
const OFFSET_COMMIT_10: &[u8] =
    b"\x03g1\0\0\0\x07\x02m\x02i\x03\x26\xfd\xe5\x8c\x3a\x16\x45\xa0\xa4\xd6\x3d\x97\x79\xe3\xe8\x11\
    \x03\0\0\0\x01\0\0\0\0\0\0\0\x2a\0\0\0\x03\x02x\0\0\0\0\x02\0\0\0\0\0\0\0\x2b\xff\xff\xff\xff\0\0\0\
    \0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\x02\x01\0\0";

/// Bodies of requests with content, in every version served.
fn bodies() -> Vec<(ApiKey, i16, BytesMut)> {
    let mut bodies = Vec::new();
    let mut add = |api: ApiKey, encode: &dyn Fn(i16, &mut BytesMut)| {
        for version in api.served().min..=api.served().max {
            let mut body = BytesMut::new();
            encode(version, &mut body);
            bodies.push((api, version, body));
        }
    };
    add(ApiKey::Produce, &|version, out| {
        let partition = PartitionProduceData::default().with_records(Some(Bytes::from(batches()[0].clone())));
        let topic = TopicProduceData::default().with_name(topic("t")).with_partition_data(vec![partition; 2]);
        let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![topic]);
        request.encode(out, version).unwrap();
    });
    add(ApiKey::Fetch, &|version, out| {
        let partition = FetchPartition::default().with_fetch_offset(5).with_partition_max_bytes(1 << 20);
        let topic = FetchTopic::default().with_topic(topic("t")).with_partitions(vec![partition; 3]);
        let mut request = FetchRequest::default().with_max_wait_ms(500).with_topics(vec![topic]);
        if version >= 12 {
            request.cluster_id = Some(text("cluster"));
        }
        request.encode(out, version).unwrap();
    });
    add(ApiKey::Metadata, &|version, out| {
        let topic = MetadataRequestTopic::default().with_name(Some(topic("some-topic")));
        MetadataRequest::default().with_topics(Some(vec![topic; 3])).encode(out, version).unwrap();
    });
    add(ApiKey::OffsetCommit, &|version, out| {
        if version == 10 {
            return out.put_slice(OFFSET_COMMIT_10);
        }
        let partition = OffsetCommitRequestPartition::default().with_committed_metadata(Some(text("m")));
        let topic = OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition; 2]);
        let request = OffsetCommitRequest::default().with_group_id(GroupId(text("g"))).with_topics(vec![topic]);
        request.encode(out, version).unwrap();
    });
    add(ApiKey::JoinGroup, &|version, out| {
        let protocol = JoinGroupRequestProtocol::default()
            .with_name(text("range"))
            .with_metadata(Bytes::from_static(b"\x00\x01metadata"));
        let request = JoinGroupRequest::default()
            .with_group_id(GroupId(text("g")))
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol; 2]);
        request.encode(out, version).unwrap();
    });
    add(ApiKey::CreateTopics, &|version, out| {
        let config = CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("1")));
        let topic = CreatableTopic::default().with_name(topic("t")).with_num_partitions(3).with_configs(vec![config]);
        CreateTopicsRequest::default().with_topics(vec![topic]).encode(out, version).unwrap();
    });
    bodies
}

/// Whole frames: the bodies behind headers, and for every other version a few zeros.
fn frames() -> Vec<Vec<u8>> {
    let frame = |api: ApiKey, version: i16, body: &[u8]| {
        let tagged: &[u8] = if api.is_flexible(version) { &[0] } else { &[] };
        [&api.key().to_be_bytes()[..], &version.to_be_bytes(), &[0, 0, 0, 9, 0, 2, b'm', b'e'], tagged, body].concat()
    };
    let with_content = bodies().into_iter().map(|(api, version, body)| frame(api, version, &body));
    let zeros = ApiKey::ALL
        .iter()
        .flat_map(|&api| (api.served().min..=api.served().max).map(move |version| frame(api, version, &[0; 24])));
    with_content.chain(zeros).collect()
}

#[test]
fn frame() {
    let stream = |frames: &[Vec<u8>]| {
        let mut out = vec![7];
        for frame in frames {
            out.extend_from_slice(&(frame.len() as u32).to_be_bytes());
            out.extend_from_slice(frame);
        }
        out
    };
    smoke(targets::frame, &frames().chunks(3).map(stream).collect::<Vec<_>>());
}

#[test]
fn header() {
    smoke(targets::header, &frames());
}

#[test]
fn request() {
    smoke(targets::request, &frames());
}

#[test]
fn request_body() {
    let chosen = |(api, version, body): (ApiKey, i16, BytesMut)| {
        let index = ApiKey::ALL.iter().position(|&known| known == api).unwrap() as u8;
        [&[index, (version - api.served().min) as u8][..], &body].concat()
    };
    smoke(targets::request_body, &bodies().into_iter().map(chosen).collect::<Vec<_>>());
}

#[test]
fn record_batch() {
    smoke(targets::record_batch, &batches());
}

#[test]
fn records() {
    let chosen = |batch: Vec<u8>| [&[batch[22], 2][..], &batch[61..]].concat();
    smoke(targets::records, &batches().into_iter().map(chosen).collect::<Vec<_>>());
}

/// The corpus is worth mutating: as it is, it gets all the way through.
#[test]
fn the_corpus_is_valid() {
    for (api, version, body) in bodies() {
        let passed = protocol::request_guard::check(api, version, &body);
        assert_eq!(passed, Ok(body.len()), "{api} {version}");
    }
    for batch in batches() {
        assert!(protocol::produce_records::check_produce_records(13, &Bytes::from(batch), 1 << 20).is_ok());
    }
}
