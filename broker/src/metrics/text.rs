//! Numbers put below their families.

use std::collections::BTreeMap;
use std::sync::Arc;

use instruments::{Exposition, Reading, Value};
use kafka_protocol::ResponseError;
use metadata::image::MetadataImage;
use protocol::ApiKey;

use super::changes::Election;
use super::cluster::{self, CoreFacts};
use super::process::{ProcessFacts, Space};
use super::scrape::{Gathered, Scraper};
use super::shard::{Closed, QUEUES, ShardMetrics};
use super::snapshot::{BUDGETS, ShardSnapshot};
use super::topics::{OTHERS, TopicSeries, TopicsShown, Totals};
use crate::metrics::Metric;
use crate::partition::PartitionKey;

type Text = Exposition<Metric>;

pub(super) fn put_all(out: &mut Text, scraper: &Scraper, gathered: &Gathered, topics: &mut TopicSeries) {
    put_requests(out, &scraper.shards);
    put_connections(out, scraper);
    for (shard, metrics) in scraper.shards.iter().enumerate() {
        put_shard(out, &shard.to_string(), metrics);
    }
    put_wal_histograms(out, &scraper.shards);
    for (shard, (snapshot, inbox)) in gathered.snapshots.iter().zip(&gathered.inbox_lengths).enumerate() {
        put_snapshot(out, &shard.to_string(), snapshot, *inbox);
    }
    let image = gathered.core.as_ref().map(|core| &core.image);
    put_topics(out, &gathered.snapshots, image, topics, scraper.limits.topics_max);
    put_partitions(out, &gathered.snapshots, image, scraper.limits.partitions_max);
    if let Some(core) = &gathered.core {
        put_core(out, core);
    }
    if let Some(lease) = scraper.lease.get() {
        let left_ms = lease.until_ms().saturating_sub(crate::clock::boot_ms());
        out.sample(Metric::Lease, &[], left_ms as f64 / 1e3);
    }
    scraper.lag.put(out);
    out.sample(Metric::BuildInfo, &[env!("CARGO_PKG_VERSION")], 1_u64);
    out.sample(Metric::LateShards, &[], gathered.late_shards);
    out.sample(Metric::ScrapeDuration, &[], gathered.scrape_before.as_secs_f64());
}

fn put_requests(out: &mut Text, shards: &[Arc<ShardMetrics>]) {
    for api in ApiKey::ALL {
        let requests: u64 = shards.iter().map(|shard| shard.request_count(*api)).sum();
        out.sample(Metric::Requests, &[api.name()], requests);
        if let Some(latency) = Reading::sum_of(shards.iter().map(|shard| shard.latency(*api).read())) {
            out.histogram(Metric::RequestDuration, &[api.name()], &latency);
        }
        let mut errors = BTreeMap::<Option<i16>, u64>::new();
        for (code, count) in shards.iter().flat_map(|shard| shard.errors(*api)) {
            *errors.entry(code).or_default() += count;
        }
        for (code, count) in errors {
            out.sample(Metric::Errors, &[api.name(), &error_name(code)], count);
        }
    }
}

/// Kafka's name of an error.
fn error_name(code: Option<i16>) -> String {
    let Some(error) = code.and_then(ResponseError::try_from_code) else { return "OTHER".to_owned() };
    if let ResponseError::Unknown(code) = error {
        return code.to_string();
    }
    let mut name = String::new();
    for char in format!("{error:?}").chars() {
        if char.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(char.to_ascii_uppercase());
    }
    name
}

fn put_connections(out: &mut Text, scraper: &Scraper) {
    for (shard, metrics) in scraper.shards.iter().enumerate() {
        let shard = shard.to_string();
        out.sample(Metric::ConnectionsOpen, &[&shard], metrics.connections_open.get());
        for why in Closed::ALL {
            out.sample(Metric::ConnectionsClosed, &[&shard, why.name()], metrics.closed_count(why));
        }
    }
    if let Some(limits) = scraper.connections.get() {
        out.sample(Metric::ConnectionsMax, &[], limits.total_max());
        out.sample(Metric::ConnectionsAccepted, &[], limits.accepted.get());
        out.sample(Metric::ConnectionsRefused, &["too_many"], limits.refused_too_many.get());
        out.sample(Metric::ConnectionsRefused, &["too_many_from_address"], limits.refused_from_address.get());
    }
}

/// What the shard counts.
fn put_shard(out: &mut Text, shard: &str, metrics: &ShardMetrics) {
    let wal = &*metrics.wal;
    for (family, counter) in [
        (Metric::ProducedBytes, &metrics.produced_bytes),
        (Metric::ProducedBatches, &metrics.produced_batches),
        (Metric::FetchedBytes, &metrics.fetched_bytes),
        (Metric::ReplicatedOut, &metrics.replicated_out_bytes),
        (Metric::ReplicatedIn, &metrics.replicated_in_bytes),
        (Metric::Compactions, &metrics.compactions),
        (Metric::CompactionRead, &metrics.compaction_read_bytes),
        (Metric::CompactionWritten, &metrics.compaction_written_bytes),
        (Metric::WalSegmentBytes, &wal.segment_bytes),
        (Metric::WalJournalBytes, &wal.journal_bytes),
        (Metric::WalWriteBacks, &wal.write_backs),
        (Metric::WalWriteBackBytes, &wal.write_back_bytes),
        (Metric::TailHits, &wal.tail_hits),
        (Metric::TailMisses, &wal.tail_misses),
        (Metric::ChunkHits, &wal.chunk_hits),
        (Metric::ChunkAheadHits, &wal.chunk_ahead_hits),
        (Metric::DiskReadBytes, &wal.read_bytes),
        (Metric::RetentionSegments, &wal.deleted_segments),
        (Metric::RetentionBytes, &wal.deleted_bytes),
        (Metric::Stalls, &metrics.pulse.stalls),
    ] {
        out.sample(family, &[shard], counter.get());
    }
    for (path, counter) in [
        ("inline", &wal.commits.inline),
        ("segments", &wal.commits.segments),
        ("journal", &wal.commits.journal),
        ("mixed", &wal.commits.mixed),
    ] {
        out.sample(Metric::WalCommits, &[shard, path], counter.get());
    }
    out.sample(Metric::DiskReads, &[shard, "demanded"], wal.demanded_reads.get());
    out.sample(Metric::DiskReads, &[shard, "ahead"], wal.ahead_reads.get());
    out.sample(Metric::Recovery, &[shard], metrics.recovery_time.seconds());
    out.sample(Metric::CompactionLast, &[shard], metrics.last_compaction_time.seconds());
    out.sample(Metric::CompactionDirty, &[shard], metrics.max_dirty_ratio.get() as f64 / 1e6);
    out.sample(Metric::Uncleanable, &[shard], metrics.uncleanable_partitions.get());
    out.sample(Metric::ShardBusy, &[shard], metrics.pulse.busy_time.seconds());
    for (queue, time) in QUEUES.iter().zip(&metrics.pulse.queue_time) {
        out.sample(Metric::QueueBusy, &[shard, queue], time.seconds());
    }
    out.sample(Metric::StallSeconds, &[shard], metrics.pulse.stall_time.seconds());
    out.sample(Metric::LongestStall, &[shard], metrics.pulse.longest_stall.seconds());
}

/// Of all shards together: series of each would be many, and they share disks.
fn put_wal_histograms(out: &mut Text, shards: &[Arc<ShardMetrics>]) {
    let mut put = |family, read: &dyn Fn(&ShardMetrics) -> Reading, labels: &[&str]| {
        if let Some(reading) = Reading::sum_of(shards.iter().map(|shard| read(shard))) {
            out.histogram(family, labels, &reading);
        }
    };
    put(Metric::WalCommitDuration, &|shard| shard.wal.commit_time.read(), &[]);
    put(Metric::WalWriteDuration, &|shard| shard.wal.write_time.read(), &[]);
    put(Metric::WalSyncDuration, &|shard| shard.wal.sync_time.read(), &[]);
    put(Metric::WalInlineDuration, &|shard| shard.wal.inline_time.read(), &[]);
    put(Metric::WalCommitBytes, &|shard| shard.wal.commit_bytes.read(), &[]);
    put(Metric::WalCommitLogs, &|shard| shard.wal.commit_logs.read(), &[]);
    put(Metric::DiskReadDuration, &|shard| shard.wal.read_time.read(), &[]);
    for (at, queue) in QUEUES.iter().enumerate() {
        put(Metric::QueueDelay, &|shard| shard.pulse.queue_delays[at].read(), &[queue]);
    }
}

/// What the shard has told.
fn put_snapshot(out: &mut Text, shard: &str, snapshot: &ShardSnapshot, inbox: usize) {
    for (family, n) in [
        (Metric::InboxMessages, inbox),
        (Metric::PartitionsOpen, snapshot.partitions.len()),
        (Metric::LogsOffline, snapshot.logs_offline),
        (Metric::Segments, snapshot.segments),
        (Metric::WaitingFetches, snapshot.waiting_fetches),
        (Metric::WaitingProduces, snapshot.waiting_produces),
        (Metric::FetchSessions, snapshot.fetch_sessions),
        (Metric::ProducerIds, snapshot.producer_ids),
        (Metric::TailBytes, snapshot.tail_cache_bytes),
    ] {
        out.sample(family, &[shard], n);
    }
    out.sample(Metric::Groups, &[shard, "classic"], snapshot.groups.classic);
    out.sample(Metric::Groups, &[shard, "consumer"], snapshot.groups.consumer);
    out.sample(Metric::GroupMembers, &[shard], snapshot.groups.members);
    out.sample(Metric::LogBytes, &[shard], snapshot.log_bytes);
    out.sample(Metric::WalJournalUsed, &[shard], snapshot.journal_used_bytes);
    out.sample(Metric::WalJournalSize, &[shard], snapshot.journal_size_bytes);
    for (name, budget) in BUDGETS.iter().zip(&snapshot.budgets) {
        out.sample(Metric::BudgetUsed, &[shard, name], budget.used_bytes);
        out.sample(Metric::BudgetLimit, &[shard, name], budget.limit_bytes);
    }
}

fn put_topics(
    out: &mut Text,
    snapshots: &[ShardSnapshot],
    image: Option<&MetadataImage>,
    series: &mut TopicSeries,
    max: usize,
) {
    let Some(image) = image else { return };
    let mut topics = BTreeMap::<Arc<str>, (protocol::TopicId, Totals)>::new();
    for (id, totals) in snapshots.iter().flat_map(|snapshot| &snapshot.topics) {
        // One that was deleted a moment ago has no name any more.
        if let Some(topic) = image.topic_by_id(*id) {
            topics.entry(topic.name.clone()).or_insert((*id, Totals::default())).1.add(*totals);
        }
    }
    let TopicsShown { topics, others, omitted } = series.show(&topics, max);
    let families = [
        Metric::TopicProducedBytes,
        Metric::TopicProducedRecords,
        Metric::TopicFetchedBytes,
        Metric::TopicFetchedRecords,
    ];
    let shown = topics.iter().map(|(name, totals)| (&**name, totals)).chain([(OTHERS, &others)]);
    for (name, totals) in shown {
        for (family, n) in families.into_iter().zip(totals.0) {
            out.sample(family, &[name], n);
        }
    }
    out.sample(Metric::TopicsOmitted, &[], omitted);
}

/// In the order of the topics' names, so that the same ones have series as long as there are the same.
fn put_partitions(out: &mut Text, snapshots: &[ShardSnapshot], image: Option<&MetadataImage>, max: usize) {
    let Some(image) = image else { return };
    let name_of = |key: PartitionKey| image.topic_by_id(key.topic_id).map(|topic| &*topic.name);
    let partitions = snapshots.iter().flat_map(|snapshot| &snapshot.partitions);
    let mut partitions: Vec<_> =
        partitions.filter_map(|partition| Some((name_of(partition.key)?, partition))).collect();
    partitions.sort_unstable_by_key(|(name, partition)| (*name, partition.key.partition));
    let omitted = partitions.len().saturating_sub(max);
    let last_shown =
        max.checked_sub(1).and_then(|last| partitions.get(last)).map(|(name, one)| (*name, one.key.partition));
    partitions.truncate(max);
    for (topic, partition) in &partitions {
        let labels = [*topic, &partition.key.partition.0.to_string()];
        out.sample(Metric::PartitionLogStart, &labels, partition.log_start.0);
        out.sample(Metric::PartitionLogEnd, &labels, partition.log_end.0);
        out.sample(Metric::PartitionHighWatermark, &labels, partition.high_watermark.0);
        out.sample(Metric::PartitionSize, &labels, partition.size_bytes);
        if let Some(in_sync) = partition.in_sync {
            out.sample(Metric::PartitionInSync, &labels, in_sync);
        }
    }
    let mut lag_max = 0;
    for follower in snapshots.iter().flat_map(|snapshot| &snapshot.followers) {
        lag_max = lag_max.max(follower.lag);
        let Some(topic) = name_of(follower.key) else { continue };
        let is_shown = omitted == 0 || last_shown >= Some((topic, follower.key.partition));
        if is_shown && max > 0 {
            let labels = [topic, &follower.key.partition.0.to_string(), &follower.follower.0.to_string()];
            out.sample(Metric::FollowerLag, &labels, follower.lag);
        }
    }
    out.sample(Metric::PartitionsOmitted, &[], omitted);
    out.sample(Metric::FollowerLagMax, &[], lag_max);
}

fn put_core(out: &mut Text, core: &CoreFacts) {
    let counts = cluster::count(&core.image, core.me);
    let progress = &core.progress;
    let index = |index: Option<u64>| index.unwrap_or(0);
    let committed = progress.committed.max(progress.applied);
    let lag = |ahead: Option<u64>, behind: Option<u64>| {
        let entries = |index: Option<u64>| index.map_or(0, |index| index + 1);
        entries(ahead).saturating_sub(entries(behind))
    };
    for (family, value) in [
        (Metric::Partitions, Value::from(counts.replicas)),
        (Metric::PartitionsLed, counts.led.into()),
        (Metric::UnderReplicated, counts.under_replicated.into()),
        (Metric::UnderMinIsr, counts.under_min_isr.into()),
        (Metric::AtMinIsr, counts.at_min_isr.into()),
        (Metric::NotPreferredLeader, counts.not_preferred.into()),
        (Metric::Reassigning, counts.reassigning.into()),
        (Metric::IsrShrinks, core.changes.isr_shrinks.get().into()),
        (Metric::IsrExpansions, core.changes.isr_expansions.get().into()),
        (Metric::ClusterBrokers, counts.brokers.into()),
        (Metric::ClusterFenced, counts.fenced.into()),
        (Metric::ClusterTopics, counts.topics.into()),
        (Metric::ClusterPartitions, counts.partitions.into()),
        (Metric::ClusterOffline, counts.offline.into()),
        (Metric::ActiveController, progress.leads.into()),
        (Metric::LeaderKnown, progress.leader.is_some().into()),
        (Metric::Fenced, counts.is_fenced.into()),
        (Metric::RaftTerm, progress.term.into()),
        (Metric::RaftLast, index(progress.last).into()),
        (Metric::RaftCommitted, index(committed).into()),
        (Metric::RaftApplied, index(progress.applied).into()),
        (Metric::RaftCommitLag, lag(progress.last, committed).into()),
        (Metric::RaftApplyLag, lag(committed, progress.applied).into()),
        (Metric::RaftSnapshot, index(progress.snapshot).into()),
        (Metric::RaftSnapshotAge, lag(progress.applied, progress.snapshot).into()),
        (Metric::RaftVoters, progress.voters.into()),
        (Metric::RaftMembers, progress.members.into()),
        (Metric::RaftSilence, progress.quorum_silence.as_secs_f64().into()),
        (Metric::MetadataOffset, core.image.metadata_offset().into()),
    ] {
        out.sample(family, &[], value);
    }
    if let Some(applied) = core.applied {
        out.sample(Metric::MetadataApplied, &[], applied);
    }
    for kind in Election::ALL {
        out.sample(Metric::Elections, &[kind.name()], core.changes.elections[kind as usize].get());
    }
}

pub(super) fn put_process(out: &mut Text, facts: &ProcessFacts, spaces: &[Space]) {
    let ProcessFacts { cpu_seconds, start_seconds, resident_bytes, virtual_bytes, threads, open_fds, max_fds } = *facts;
    for (family, value) in [
        (Metric::CpuSeconds, cpu_seconds.map(Value::from)),
        (Metric::StartTime, start_seconds.map(Value::from)),
        (Metric::ResidentBytes, resident_bytes.map(Value::from)),
        (Metric::VirtualBytes, virtual_bytes.map(Value::from)),
        (Metric::Threads, threads.map(Value::from)),
        (Metric::OpenFds, open_fds.map(Value::from)),
        (Metric::MaxFds, max_fds.map(Value::from)),
    ] {
        if let Some(value) = value {
            out.sample(family, &[], value);
        }
    }
    for Space { dir, free_bytes, total_bytes } in spaces {
        out.sample(Metric::DiskFree, &[dir], *free_bytes);
        out.sample(Metric::DiskTotal, &[dir], *total_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::super::snapshot::{FollowerSnapshot, PartitionSnapshot};
    use super::*;
    use crate::shard::assignment::testing::{TOPIC, TOPIC_ID, image_of};
    use instruments::Format;
    use protocol::{BrokerId, Offset, PartitionId};

    fn lines(out: Text, family: &str) -> Vec<String> {
        out.text().lines().filter(|line| line.starts_with(family)).map(str::to_owned).collect()
    }

    #[test]
    fn errors_go_by_kafkas_names() {
        assert_eq!(error_name(Some(-1)), "UNKNOWN_SERVER_ERROR");
        assert_eq!(error_name(Some(3)), "UNKNOWN_TOPIC_OR_PARTITION");
        assert_eq!(error_name(Some(56)), "KAFKA_STORAGE_ERROR");
        assert_eq!((error_name(Some(150)), error_name(None)), ("150".to_owned(), "OTHER".to_owned()));
    }

    #[test]
    fn partitions_beyond_the_bound_are_counted_and_their_followers_have_no_series() {
        let image = image_of(&[1, 2], &[(&[1, 2], Some(1), 0), (&[1, 2], Some(1), 0), (&[1, 2], Some(1), 0)]);
        let key = |partition| PartitionKey { topic_id: TOPIC_ID, partition: PartitionId(partition) };
        let partition = |partition: i32| PartitionSnapshot {
            key: key(partition),
            log_start: Offset(1),
            log_end: Offset(10),
            high_watermark: Offset(9),
            size_bytes: 100,
            in_sync: Some(2),
        };
        let follower =
            |partition| FollowerSnapshot { key: key(partition), follower: BrokerId(2), lag: partition as u64 };
        // As shards have them, in any order.
        let snapshots = [2, 0, 1].map(|at| ShardSnapshot {
            partitions: vec![partition(at)],
            followers: vec![follower(at)],
            ..ShardSnapshot::default()
        });
        for (max, shown) in [(3, 3), (2, 2), (0, 0)] {
            let mut out = Text::new(Format::Prometheus);
            put_partitions(&mut out, &snapshots, Some(&image), max);
            let text = out.text();
            let count = |family: &str| text.lines().filter(|line| line.starts_with(&format!("{family}{{"))).count();
            assert_eq!(count("ringlog_partition_log_end_offset"), shown);
            assert_eq!(count("ringlog_partition_follower_lag_records"), shown);
            assert!(text.contains(&format!("ringlog_partitions_omitted {}\n", 3 - shown)), "{text}");
            assert!(text.contains("ringlog_follower_lag_max_records 2\n"), "of all, whether shown or not");
            let last = format!("ringlog_partition_high_watermark{{topic=\"{TOPIC}\",partition=\"1\"}} 9\n");
            assert_eq!(text.contains(&last), max >= 2);
        }
    }

    #[test]
    fn topics_of_all_shards_are_summed_and_those_without_a_name_left_out() {
        let image = image_of(&[1], &[(&[1], Some(1), 0)]);
        let gone = protocol::TopicId(uuid::Uuid::from_u128(99));
        let snapshots = [
            ShardSnapshot {
                topics: vec![(TOPIC_ID, Totals([1, 2, 3, 4])), (gone, Totals([9; 4]))],
                ..Default::default()
            },
            ShardSnapshot { topics: vec![(TOPIC_ID, Totals([10, 20, 30, 40]))], ..Default::default() },
        ];
        let mut out = Text::new(Format::Prometheus);
        put_topics(&mut out, &snapshots, Some(&image), &mut TopicSeries::default(), 10);
        assert_eq!(
            lines(out, "ringlog_topic_"),
            [
                "ringlog_topic_produced_bytes_total{topic=\"orders\"} 11",
                "ringlog_topic_produced_bytes_total{topic=\"(others)\"} 0",
                "ringlog_topic_produced_records_total{topic=\"orders\"} 22",
                "ringlog_topic_produced_records_total{topic=\"(others)\"} 0",
                "ringlog_topic_fetched_bytes_total{topic=\"orders\"} 33",
                "ringlog_topic_fetched_bytes_total{topic=\"(others)\"} 0",
                "ringlog_topic_fetched_records_total{topic=\"orders\"} 44",
                "ringlog_topic_fetched_records_total{topic=\"(others)\"} 0",
            ]
        );
    }
}
