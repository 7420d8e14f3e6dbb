//! Every broker config that has a meaning here, with Kafka 4.3's names, types, defaults and checks, and our own.
//!
//! What Kafka has beyond this list is in [`super::kafka_only`], by name alone. A test holds this table against a
//! description taken from a real Kafka 4.3 broker.

use super::definition::ConfigKind::{self, Boolean, Double, Int, List, Long, Short, String};
use super::definition::{ConfigDef, hours, minutes, same};
use super::replica_selector::REPLICA_SELECTORS;
use super::topic_table::{CLEANUP_POLICIES, CODECS, DURABILITIES, MAX_LONG, SEGMENT_BYTES_MIN, TIMESTAMP_TYPES};
use super::validator::Validator::{
    AtLeast, Between, BetweenOr, CountPerHost, ListOf, OffOnly, OneOf, OneOfAnyCase, PositiveOrUnlimited,
    RequiredPositive,
};

const MAX_INT: &str = "2147483647";

/// Server-side assignors of consumer groups (KIP-848).
const ASSIGNORS: &[&str] = &["uniform", "range"];
/// `ConsumerGroupMigrationPolicy`.
const MIGRATION_POLICIES: &[&str] = &["DISABLED", "DOWNGRADE", "UPGRADE", "BIDIRECTIONAL"];

const fn broker(name: &'static str, kind: ConfigKind, default: &'static str) -> ConfigDef {
    ConfigDef::broker(name, kind, Some(default))
}

const fn unset(name: &'static str, kind: ConfigKind) -> ConfigDef {
    ConfigDef::broker(name, kind, None)
}

/// In order of name.
pub(super) static BROKER_CONFIGS: &[ConfigDef] = &[
    unset("advertised.listeners", List)
        .flag("--advertised-kafka-addr")
        .doc("Address that clients are told to connect to."),
    broker("auto.create.topics.enable", Boolean, "true")
        .doc("Whether a topic that a client asks for is created with num.partitions and default.replication.factor."),
    broker("auto.leader.rebalance.enable", Boolean, "true")
        .doc("Whether leadership returns to a partition's first replica by itself."),
    broker("broker.heartbeat.interval.ms", Int, "2000")
        .check(AtLeast(1))
        .doc("Milliseconds between a broker's reports to the controller."),
    broker("broker.id", Int, "-1").flag("--node-id").doc("This broker's id; the same as node.id."),
    unset("broker.rack", String)
        .doc("Rack (or zone) of this broker, for spreading replicas and for reading nearby (replica.selector.class)."),
    broker("broker.session.timeout.ms", Int, "9000")
        .check(AtLeast(1))
        .doc("Milliseconds of silence after which the controller fences a broker."),
    broker("compression.gzip.level", Int, "-1")
        .check(BetweenOr(1, 9, -1))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config of this name."),
    broker("compression.lz4.level", Int, "9")
        .check(Between(1, 17))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config of this name."),
    broker("compression.type", String, "producer")
        .check(OneOf(CODECS))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config of this name."),
    broker("compression.zstd.level", Int, "3")
        .check(Between(-131_072, 22))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config of this name."),
    broker("connections.max.idle.ms", Long, "600000").doc("Milliseconds after which an idle connection is closed."),
    broker("default.replication.factor", Int, "1")
        .check(Between(1, 32_767))
        .doc("Replicas of a partition for topics created without saying, automatically created ones included."),
    broker("delete.topic.enable", Boolean, "true").doc("Whether topics can be deleted."),
    broker("fetch.max.bytes", Int, "57671680")
        .check(AtLeast(1024))
        .doc("Most bytes of records that one fetch response carries, whatever the client asks for."),
    unset("follower.replication.throttled.rate", Long)
        .check(AtLeast(0))
        .dynamic()
        .internal()
        .doc(
            "Bytes per second that this broker takes in for its replicas listed in follower.replication.throttled.replicas, \
             while they are not in sync.",
        ),
    broker("group.consumer.assignment.interval.ms", Int, "1000").check(AtLeast(0)).doc(
        "Milliseconds that a target assignment of a consumer group stays at least before another is computed.",
    ),
    broker("group.consumer.assignors", List, "uniform,range")
        .check(ListOf(ASSIGNORS))
        .doc("Assignors that members of consumer groups may ask for; the first is the default."),
    broker("group.consumer.heartbeat.interval.ms", Int, "5000")
        .check(AtLeast(1))
        .doc("Milliseconds between heartbeats that members of consumer groups are told."),
    broker("group.consumer.max.assignment.interval.ms", Int, "15000")
        .check(AtLeast(0))
        .doc("Greatest group.consumer.assignment.interval.ms."),
    broker("group.consumer.max.heartbeat.interval.ms", Int, "15000")
        .check(AtLeast(1))
        .doc("Greatest group.consumer.heartbeat.interval.ms."),
    broker("group.consumer.max.session.timeout.ms", Int, "60000")
        .check(AtLeast(1))
        .doc("Greatest group.consumer.session.timeout.ms."),
    broker("group.consumer.max.size", Int, MAX_INT)
        .check(AtLeast(1))
        .doc("Most members that a group of the consumer protocol (KIP-848) may have."),
    broker("group.consumer.migration.policy", String, "bidirectional").check(OneOfAnyCase(MIGRATION_POLICIES)).doc(
        "Whether groups go from the classic to the consumer protocol (upgrade), back (downgrade), both, or neither while \
         their members work.",
    ),
    broker("group.consumer.min.assignment.interval.ms", Int, "0")
        .check(AtLeast(0))
        .doc("Least group.consumer.assignment.interval.ms."),
    broker("group.consumer.min.heartbeat.interval.ms", Int, "5000")
        .check(AtLeast(1))
        .doc("Least group.consumer.heartbeat.interval.ms."),
    broker("group.consumer.min.session.timeout.ms", Int, "45000")
        .check(AtLeast(1))
        .doc("Least group.consumer.session.timeout.ms."),
    broker("group.consumer.regex.refresh.interval.ms", Int, "600000")
        .check(AtLeast(10_000))
        .doc("Milliseconds after which regular expressions of consumer groups are resolved anew."),
    broker("group.consumer.session.timeout.ms", Int, "45000")
        .check(AtLeast(1))
        .doc("Milliseconds of silence after which a member is out of its consumer group."),
    broker("group.initial.rebalance.delay.ms", Int, "3000")
        .check(AtLeast(0))
        .doc("Milliseconds that a new group waits for more members before its first rebalance."),
    broker("group.max.session.timeout.ms", Int, "1800000")
        .doc("Longest session timeout a group member may ask for, in milliseconds."),
    broker("group.max.size", Int, MAX_INT).check(AtLeast(1)).doc("Most members that a consumer group may have."),
    broker("group.min.session.timeout.ms", Int, "6000")
        .doc("Shortest session timeout a group member may ask for, in milliseconds."),
    broker("leader.imbalance.check.interval.seconds", Long, "300")
        .check(AtLeast(1))
        .doc("Seconds after which leadership is given back to first replicas, if auto.leader.rebalance.enable says so."),
    unset("leader.replication.throttled.rate", Long)
        .check(AtLeast(0))
        .dynamic()
        .internal()
        .doc(
            "Bytes per second that this broker sends to followers that are not in sync, of partitions that it leads as listed \
             in leader.replication.throttled.replicas.",
        ),
    broker("listeners", List, "PLAINTEXT://:9092").flag("--kafka-addr").doc("Address that clients are served on."),
    broker("log.cleaner.backoff.ms", Long, "15000")
        .check(AtLeast(0))
        .dynamic()
        .doc("Milliseconds between two looks for logs to compact, while there are none."),
    broker("log.cleaner.dedupe.buffer.size", Long, "134217728")
        .dynamic()
        .doc("Bytes of memory for the keys of logs that are being compacted, shared by the broker's shards."),
    broker("log.cleaner.delete.retention.ms", Long, "86400000")
        .check(AtLeast(0))
        .dynamic()
        .doc("Default of the topic config delete.retention.ms."),
    broker("log.cleaner.enable", Boolean, "true").doc("Whether logs with cleanup.policy=compact are compacted."),
    broker("log.cleaner.io.max.bytes.per.second", Double, "1.7976931348623157E308")
        .dynamic()
        .doc("Bytes per second that compaction reads and writes at most, shared by the broker's shards."),
    broker("log.cleaner.max.compaction.lag.ms", Long, MAX_LONG)
        .check(AtLeast(1))
        .dynamic()
        .doc("Default of the topic config max.compaction.lag.ms."),
    broker("log.cleaner.min.cleanable.ratio", Double, "0.5")
        .check(Between(0, 1))
        .dynamic()
        .doc("Default of the topic config min.cleanable.dirty.ratio."),
    broker("log.cleaner.min.compaction.lag.ms", Long, "0")
        .check(AtLeast(0))
        .dynamic()
        .doc("Default of the topic config min.compaction.lag.ms."),
    broker("log.cleanup.policy", List, "delete")
        .check(ListOf(CLEANUP_POLICIES))
        .dynamic()
        .doc("Default of the topic config cleanup.policy."),
    unset("log.dirs", List).flag("--data-dir").doc("Directory that holds the partitions."),
    broker("log.flush.interval.messages", Long, MAX_LONG)
        .check(AtLeast(1))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config flush.messages."),
    unset("log.flush.interval.ms", Long)
        .dynamic()
        .falls_back_to(&[same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")])
        .kept_only()
        .doc("Default of the topic config flush.ms."),
    broker("log.flush.scheduler.interval.ms", Long, MAX_LONG).kept_only().doc("Default of log.flush.interval.ms."),
    broker("log.index.interval.bytes", Int, "4096")
        .check(AtLeast(0))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config index.interval.bytes."),
    broker("log.index.size.max.bytes", Int, "10485760")
        .check(AtLeast(4))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config segment.index.bytes."),
    broker("log.local.retention.bytes", Long, "-2")
        .check(AtLeast(-2))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config local.retention.bytes."),
    broker("log.local.retention.ms", Long, "-2")
        .check(AtLeast(-2))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config local.retention.ms."),
    broker("log.message.timestamp.after.max.ms", Long, "3600000")
        .check(AtLeast(0))
        .dynamic()
        .doc("Default of the topic config message.timestamp.after.max.ms."),
    broker("log.message.timestamp.before.max.ms", Long, MAX_LONG)
        .check(AtLeast(0))
        .dynamic()
        .doc("Default of the topic config message.timestamp.before.max.ms."),
    broker("log.message.timestamp.type", String, "CreateTime")
        .check(OneOf(TIMESTAMP_TYPES))
        .dynamic()
        .doc("Default of the topic config message.timestamp.type."),
    broker("log.preallocate", Boolean, "false").dynamic().kept_only().doc("Default of the topic config preallocate."),
    broker("log.retention.bytes", Long, "-1").dynamic().doc("Default of the topic config retention.bytes."),
    broker("log.retention.check.interval.ms", Long, "300000")
        .check(AtLeast(1))
        .doc("Milliseconds between two looks for segments to delete."),
    broker("log.retention.hours", Int, "168")
        .check(PositiveOrUnlimited)
        .falls_back_to(RETENTION)
        .doc("Default of the topic config retention.ms, in hours; log.retention.minutes and .ms come first."),
    unset("log.retention.minutes", Int)
        .check(PositiveOrUnlimited)
        .falls_back_to(RETENTION)
        .doc("Default of the topic config retention.ms, in minutes; log.retention.ms comes first."),
    unset("log.retention.ms", Long)
        .check(PositiveOrUnlimited)
        .dynamic()
        .falls_back_to(RETENTION)
        .doc("Default of the topic config retention.ms; -1 is no limit."),
    broker("log.roll.hours", Int, "168")
        .check(AtLeast(1))
        .falls_back_to(ROLL)
        .doc("Default of the topic config segment.ms, in hours; log.roll.ms comes first."),
    broker("log.roll.jitter.hours", Int, "0")
        .check(AtLeast(0))
        .falls_back_to(ROLL_JITTER)
        .doc("Default of the topic config segment.jitter.ms, in hours; log.roll.jitter.ms comes first."),
    unset("log.roll.jitter.ms", Long)
        .check(AtLeast(0))
        .dynamic()
        .falls_back_to(ROLL_JITTER)
        .doc("Default of the topic config segment.jitter.ms."),
    unset("log.roll.ms", Long)
        .check(RequiredPositive)
        .dynamic()
        .falls_back_to(ROLL)
        .doc("Default of the topic config segment.ms."),
    broker("log.segment.bytes", Int, "1073741824")
        .check(AtLeast(SEGMENT_BYTES_MIN))
        .dynamic()
        .doc("Default of the topic config segment.bytes."),
    broker("log.segment.delete.delay.ms", Long, "60000")
        .check(AtLeast(0))
        .dynamic()
        .kept_only()
        .doc("Default of the topic config file.delete.delay.ms."),
    broker("max.connections", Int, MAX_INT).check(AtLeast(0)).dynamic().doc("Most client connections of this broker."),
    broker("max.connections.per.ip", Int, MAX_INT)
        .check(AtLeast(0))
        .dynamic()
        .doc("Most client connections from one address."),
    broker("max.connections.per.ip.overrides", String, "")
        .check(CountPerHost)
        .dynamic()
        .doc("Addresses with another limit than max.connections.per.ip: host:count,…"),
    broker("max.incremental.fetch.session.cache.slots", Int, "1000")
        .check(AtLeast(0))
        .doc("Most incremental fetch sessions kept (KIP-227)."),
    broker("max.request.partition.size.limit", Int, "2000")
        .check(AtLeast(1))
        .doc("Most partitions that one DescribeTopicPartitions response carries."),
    broker("message.max.bytes", Int, "1048588")
        .check(AtLeast(0))
        .dynamic()
        .doc("Default of the topic config max.message.bytes."),
    broker("min.insync.replicas", Int, "1")
        .check(AtLeast(1))
        .dynamic()
        .doc("Default of the topic config of this name."),
    unset("node.id", Int).check(AtLeast(0)).flag("--node-id").doc("This broker's id, unique in the cluster."),
    broker("num.partitions", Int, "1")
        .check(AtLeast(1))
        .doc("Partitions of topics created without saying how many, automatically created ones included."),
    broker("offset.metadata.max.bytes", Int, "4096").doc("Most bytes of text that may go with a committed offset."),
    broker("offsets.commit.timeout.ms", Int, "5000")
        .check(AtLeast(1))
        .doc("Milliseconds within which an offset commit must be durable."),
    broker("offsets.retention.check.interval.ms", Long, "600000")
        .check(AtLeast(1))
        .doc("Milliseconds between two looks for expired offsets."),
    broker("offsets.retention.minutes", Int, "10080")
        .check(AtLeast(1))
        .doc("Minutes that offsets are kept once their group has no members."),
    broker("offsets.topic.compression.codec", Int, "0")
        .kept_only()
        .doc("Codec of the topic __consumer_offsets; 0 is none."),
    broker("offsets.topic.num.partitions", Int, "50")
        .check(AtLeast(1))
        .doc("Partitions of the topic __consumer_offsets."),
    broker("offsets.topic.replication.factor", Short, "3")
        .check(AtLeast(1))
        .doc("Replicas of the topic __consumer_offsets; fewer while there are fewer brokers."),
    broker("offsets.topic.segment.bytes", Int, "104857600")
        .check(AtLeast(1))
        .doc("Segment size of the topic __consumer_offsets, in bytes."),
    broker("producer.id.expiration.ms", Int, "86400000")
        .check(AtLeast(1))
        .dynamic()
        .doc("Milliseconds after which the state of an idle producer id is dropped."),
    broker("queued.max.request.bytes", Long, "-1")
        .doc("Bytes of requests read and not answered yet at which reading stops; negative leaves it to this broker."),
    broker("queued.max.requests", Int, "500")
        .check(AtLeast(1))
        .doc("Requests read and not answered yet at which reading stops."),
    broker("remote.log.storage.system.enable", Boolean, "false")
        .check(OffOnly("remote.log.storage.system.enable must be false: tiered storage is not available"))
        .kept_only()
        .doc("Tiered storage, which is not available: only false."),
    broker("replica.lag.time.max.ms", Long, "30000")
        .check(AtLeast(1))
        .doc("Milliseconds behind the leader after which a follower leaves the ISR."),
    unset("replica.selector.class", String).check(OneOf(REPLICA_SELECTORS)).doc(
        "How the leader chooses the replica that a consumer reads from (KIP-392), by Kafka's class names or in short: leader \
         (itself, also where nothing is set), rack (one in sync in the consumer's client.rack, first the leader), spread \
         (of all in sync, one for each consumer and partition, by the consumer's client.id and address).",
    ),
    broker("request.timeout.ms", Int, "30000")
        .check(AtLeast(1))
        .doc("Milliseconds within which a request between brokers must be answered."),
    broker("ringlog.durability", String, "sync")
        .check(OneOf(DURABILITIES))
        .dynamic()
        .doc("Default of the topic config of this name."),
    broker("socket.listen.backlog.size", Int, "50")
        .check(AtLeast(1))
        .kept_only()
        .doc("Connections that may wait to be accepted."),
    broker("socket.receive.buffer.bytes", Int, "102400")
        .kept_only()
        .doc("Receive buffer asked of the kernel for a connection, in bytes; -1 leaves it to the kernel."),
    broker("socket.request.max.bytes", Int, "104857600").check(AtLeast(1)).doc("Largest request accepted, in bytes."),
    broker("socket.send.buffer.bytes", Int, "102400")
        .kept_only()
        .doc("Send buffer asked of the kernel for a connection, in bytes; -1 leaves it to the kernel."),
    broker("transaction.max.timeout.ms", Int, "900000")
        .check(AtLeast(1))
        .doc("Longest transaction timeout a producer may ask for, in milliseconds."),
    broker("transaction.state.log.min.isr", Int, "2")
        .check(AtLeast(1))
        .kept_only()
        .doc("min.insync.replicas of the topic __transaction_state."),
    broker("transaction.state.log.num.partitions", Int, "50")
        .check(AtLeast(1))
        .kept_only()
        .doc("Partitions of the topic __transaction_state."),
    broker("transaction.state.log.replication.factor", Short, "3")
        .check(AtLeast(1))
        .kept_only()
        .doc("Replicas of the topic __transaction_state."),
    broker("transaction.state.log.segment.bytes", Int, "104857600")
        .check(AtLeast(1))
        .kept_only()
        .doc("Segment size of the topic __transaction_state, in bytes."),
    broker("transactional.id.expiration.ms", Int, "604800000")
        .check(AtLeast(1))
        .kept_only()
        .doc("Milliseconds after which an idle transactional id is forgotten."),
    broker("unclean.leader.election.enable", Boolean, "false")
        .dynamic()
        .doc("Default of the topic config of this name."),
];

const RETENTION: &[super::definition::Synonym] =
    &[same("log.retention.ms"), minutes("log.retention.minutes"), hours("log.retention.hours")];
const ROLL: &[super::definition::Synonym] = &[same("log.roll.ms"), hours("log.roll.hours")];
const ROLL_JITTER: &[super::definition::Synonym] = &[same("log.roll.jitter.ms"), hours("log.roll.jitter.hours")];
