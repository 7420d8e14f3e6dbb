//! Every topic config: Kafka 4.3's, with its names, types, defaults and checks, and our own.
//!
//! A test holds this table against a description taken from a real Kafka 4.3 broker.

use super::definition::ConfigKind::{Boolean, Double, Int, List, Long, String};
use super::definition::{ConfigDef, hours, minutes, same};
use super::validator::Validator::{AtLeast, Between, BetweenOr, ListOf, OffOnly, OneOf, ThrottledReplicas};

pub(super) const MAX_LONG: &str = "9223372036854775807";
pub(super) const CODECS: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
pub(super) const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];
pub(super) const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
pub(super) const DURABILITIES: &[&str] = &["sync", "async"];
/// A segment of 1 MiB is Kafka's smallest.
pub(super) const SEGMENT_BYTES_MIN: i64 = 1 << 20;

const NO_TIERED_STORAGE: &str =
    "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";

const fn topic(name: &'static str, kind: super::definition::ConfigKind, default: &'static str) -> ConfigDef {
    ConfigDef::topic(name, kind, Some(default))
}

/// In order of name.
pub(super) static TOPIC_CONFIGS: &[ConfigDef] = &[
    topic("cleanup.policy", List, "delete")
        .check(ListOf(CLEANUP_POLICIES))
        .falls_back_to(&[same("log.cleanup.policy")])
        .doc("What happens to old segments: delete them by age and size, compact them by key, both, or (empty) neither."),
    topic("compression.gzip.level", Int, "-1")
        .check(BetweenOr(1, 9, -1))
        .falls_back_to(&[same("compression.gzip.level")])
        .kept_only()
        .doc("Level for compression.type=gzip, 1 to 9; -1 is the codec's own default."),
    topic("compression.lz4.level", Int, "9")
        .check(Between(1, 17))
        .falls_back_to(&[same("compression.lz4.level")])
        .kept_only()
        .doc("Level for compression.type=lz4, 1 to 17."),
    topic("compression.type", String, "producer")
        .check(OneOf(CODECS))
        .falls_back_to(&[same("compression.type")])
        .kept_only()
        .doc("Codec that batches are stored with; 'producer' keeps what the producer chose. Batches are always kept as sent."),
    topic("compression.zstd.level", Int, "3")
        .check(Between(-131_072, 22))
        .falls_back_to(&[same("compression.zstd.level")])
        .kept_only()
        .doc("Level for compression.type=zstd, -131072 to 22."),
    topic("delete.retention.ms", Long, "86400000")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.cleaner.delete.retention.ms")])
        .doc("Milliseconds that compaction keeps a tombstone, so that a reader from the start still sees the deletion."),
    topic("file.delete.delay.ms", Long, "60000")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.segment.delete.delay.ms")])
        .kept_only()
        .doc("Milliseconds between taking a segment out of the log and deleting its file."),
    topic("flush.messages", Long, MAX_LONG)
        .check(AtLeast(1))
        .falls_back_to(&[same("log.flush.interval.messages")])
        .kept_only()
        .doc("Records after which Kafka forces a sync. Here ringlog.durability decides."),
    topic("flush.ms", Long, MAX_LONG)
        .check(AtLeast(0))
        .falls_back_to(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")])
        .kept_only()
        .doc("Milliseconds after which Kafka forces a sync. Here ringlog.durability decides."),
    topic("follower.replication.throttled.replicas", List, "")
        .check(ThrottledReplicas)
        .doc("Followers that follower.replication.throttled.rate holds for: partition:broker,… or * for all."),
    topic("index.interval.bytes", Int, "4096")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.index.interval.bytes")])
        .kept_only()
        .doc("Bytes of log between two entries of the offset index."),
    ConfigDef::topic("internal.segment.bytes", Int, None)
        .internal()
        .doc("Overrides segment.bytes without its lower limit, in bytes. For tests."),
    topic("leader.replication.throttled.replicas", List, "")
        .check(ThrottledReplicas)
        .doc("Leaders that leader.replication.throttled.rate holds for: partition:broker,… or * for all."),
    topic("local.retention.bytes", Long, "-2")
        .check(AtLeast(-2))
        .falls_back_to(&[same("log.local.retention.bytes")])
        .kept_only()
        .doc("Bytes kept locally under tiered storage, which is not available; -2 follows retention.bytes."),
    topic("local.retention.ms", Long, "-2")
        .check(AtLeast(-2))
        .falls_back_to(&[same("log.local.retention.ms")])
        .kept_only()
        .doc("Milliseconds kept locally under tiered storage, which is not available; -2 follows retention.ms."),
    topic("max.compaction.lag.ms", Long, MAX_LONG)
        .check(AtLeast(1))
        .falls_back_to(&[same("log.cleaner.max.compaction.lag.ms")])
        .doc("Milliseconds after which a record must have become eligible for compaction."),
    topic("max.message.bytes", Int, "1048588")
        .check(AtLeast(0))
        .falls_back_to(&[same("message.max.bytes")])
        .doc("Largest record batch accepted, in bytes after compression, its header included."),
    topic("message.timestamp.after.max.ms", Long, "3600000")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.message.timestamp.after.max.ms")])
        .doc("Milliseconds that a producer's timestamp may lie ahead of this broker's clock."),
    topic("message.timestamp.before.max.ms", Long, MAX_LONG)
        .check(AtLeast(0))
        .falls_back_to(&[same("log.message.timestamp.before.max.ms")])
        .doc("Milliseconds that a producer's timestamp may lie behind this broker's clock."),
    topic("message.timestamp.type", String, "CreateTime")
        .check(OneOf(TIMESTAMP_TYPES))
        .falls_back_to(&[same("log.message.timestamp.type")])
        .doc("Whose clock a record's timestamp is of: the producer's (CreateTime) or the broker's (LogAppendTime)."),
    topic("min.cleanable.dirty.ratio", Double, "0.5")
        .check(Between(0, 1))
        .falls_back_to(&[same("log.cleaner.min.cleanable.ratio")])
        .doc("Share of the log not compacted yet from which compaction starts, 0 to 1."),
    topic("min.compaction.lag.ms", Long, "0")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.cleaner.min.compaction.lag.ms")])
        .doc("Milliseconds that a record stays uncompacted at least."),
    topic("min.insync.replicas", Int, "1")
        .check(AtLeast(1))
        .falls_back_to(&[same("min.insync.replicas")])
        .doc("Smallest ISR with which acks=all is answered and the high watermark advances."),
    topic("preallocate", Boolean, "false")
        .falls_back_to(&[same("log.preallocate")])
        .kept_only()
        .doc("Whether Kafka allocates a segment's file in advance. Here space is always prewritten ahead of the tail."),
    topic("remote.log.copy.disable", Boolean, "false")
        .check(OffOnly(NO_TIERED_STORAGE))
        .kept_only()
        .doc("Part of tiered storage, which is not available: only false."),
    topic("remote.log.delete.on.disable", Boolean, "false")
        .check(OffOnly(NO_TIERED_STORAGE))
        .kept_only()
        .doc("Part of tiered storage, which is not available: only false."),
    topic("remote.storage.enable", Boolean, "false")
        .check(OffOnly(NO_TIERED_STORAGE))
        .kept_only()
        .doc("Tiered storage, which is not available: only false."),
    topic("retention.bytes", Long, "-1")
        .falls_back_to(&[same("log.retention.bytes")])
        .doc("Bytes of a partition's log above which its oldest segments are deleted; negative is no limit."),
    topic("retention.ms", Long, "604800000")
        .check(AtLeast(-1))
        .falls_back_to(&[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")])
        .doc("Milliseconds after which a segment is deleted, by its newest timestamp; -1 is no limit."),
    topic("ringlog.durability", String, "sync")
        .check(OneOf(DURABILITIES))
        .falls_back_to(&[same("ringlog.durability")])
        .doc("sync: a write is on disk before it is acknowledged. async: it is acknowledged from memory and lost in a crash."),
    topic("segment.bytes", Int, "1073741824")
        .check(AtLeast(SEGMENT_BYTES_MIN))
        .falls_back_to(&[same("log.segment.bytes")])
        .doc("Bytes after which a new segment is started; retention works by whole segments."),
    topic("segment.index.bytes", Int, "10485760")
        .check(AtLeast(4))
        .falls_back_to(&[same("log.index.size.max.bytes")])
        .kept_only()
        .doc("Bytes of a segment's index file in Kafka."),
    topic("segment.jitter.ms", Long, "0")
        .check(AtLeast(0))
        .falls_back_to(&[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")])
        .doc("Random milliseconds taken off segment.ms, so that many partitions do not start segments at once."),
    topic("segment.ms", Long, "604800000")
        .check(AtLeast(1))
        .falls_back_to(&[same("log.roll.ms"), hours("log.roll.hours")])
        .doc("Milliseconds after which a new segment is started though the old one is not full."),
    topic("unclean.leader.election.enable", Boolean, "false")
        .falls_back_to(&[same("unclean.leader.election.enable")])
        .doc("Whether a replica that may lack acknowledged records can become leader when nothing better is left."),
];
