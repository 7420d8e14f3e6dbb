//! Every family that `/metrics` has: the one list that the text, `docs/metrics.md` and the checks of rules and dashboards come
//! from.

use instruments::{Families, Family, Kind};

macro_rules! families {
    ($($name:ident $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        /// Names a family in code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Metric {
            $($name,)*
        }

        impl Families for Metric {
            const ALL: &'static [Family] = &[
                $(Family { name: $text, kind: Kind::$kind, labels: &[$($label),*], help: $help },)*
            ];

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

families! {
    Requests Counter "ringlog_requests_total" ["api"] "Requests received.";
    RequestDuration Histogram "ringlog_request_duration_seconds" ["api"]
        "Time from a request's last byte until its answer was handed to the socket; of Fetch, with the time that the client let it wait.";
    Errors Counter "ringlog_errors_total" ["api", "error"]
        "Error codes in answers, of the whole, of topics, partitions and so on; a series appears with the first.";
    ConnectionsOpen Gauge "ringlog_connections_open" ["shard"] "Client connections that are open.";
    ConnectionsMax Gauge "ringlog_connections_max" [] "Client connections that may be open at once.";
    ConnectionsAccepted Counter "ringlog_connections_accepted_total" [] "Connections accepted, those that were then refused included.";
    ConnectionsRefused Counter "ringlog_connections_refused_total" ["reason"] "Connections closed as soon as they were accepted, for a limit.";
    ConnectionsClosed Counter "ringlog_connections_closed_total" ["shard", "reason"] "Connections that have ended.";

    ProducedBytes Counter "ringlog_produced_bytes_total" ["shard"] "Bytes of record batches received from producers.";
    ProducedBatches Counter "ringlog_produced_batches_total" ["shard"] "Record batches received from producers.";
    FetchedBytes Counter "ringlog_fetched_bytes_total" ["shard"] "Bytes of record batches sent to consumers.";
    TopicProducedBytes Counter "ringlog_topic_produced_bytes_total" ["topic"] "Bytes of record batches appended by this broker as leader.";
    TopicProducedRecords Counter "ringlog_topic_produced_records_total" ["topic"] "Records appended by this broker as leader.";
    TopicFetchedBytes Counter "ringlog_topic_fetched_bytes_total" ["topic"] "Bytes of record batches sent to consumers.";
    TopicFetchedRecords Counter "ringlog_topic_fetched_records_total" ["topic"] "Records of the batches sent to consumers.";
    TopicsOmitted Gauge "ringlog_topics_omitted" [] "Topics without series of their own, beyond --topic-series-max.";

    PartitionLogStart Gauge "ringlog_partition_log_start_offset" ["topic", "partition"] "Log start offset of this broker's replica.";
    PartitionLogEnd Gauge "ringlog_partition_log_end_offset" ["topic", "partition"] "Log end offset of this broker's replica.";
    PartitionHighWatermark Gauge "ringlog_partition_high_watermark" ["topic", "partition"] "High watermark as this broker knows it.";
    PartitionSize Gauge "ringlog_partition_size_bytes" ["topic", "partition"] "Size of this broker's replica.";
    PartitionInSync Gauge "ringlog_partition_in_sync_replicas" ["topic", "partition"] "Replicas in sync, of partitions that this broker leads.";
    FollowerLag Gauge "ringlog_partition_follower_lag_records" ["topic", "partition", "follower"]
        "Records that a follower has yet to make durable, of partitions that this broker leads.";
    PartitionsOmitted Gauge "ringlog_partitions_omitted" [] "Replicas without series of their own, beyond --partition-series-max.";

    Partitions Gauge "ringlog_partitions" [] "Replicas that are assigned to this broker.";
    PartitionsLed Gauge "ringlog_partitions_led" [] "Partitions that this broker leads.";
    PartitionsOpen Gauge "ringlog_partitions_open" ["shard"] "Replicas whose log is open.";
    LogsOffline Gauge "ringlog_logs_offline" ["shard"] "Replicas whose log could not be opened.";
    UnderReplicated Gauge "ringlog_under_replicated_partitions" [] "Partitions led by this broker that have replicas out of sync, beside those that arrive by a move.";
    UnderMinIsr Gauge "ringlog_under_min_isr_partitions" [] "Partitions led by this broker with fewer replicas in sync than min.insync.replicas, and than they have.";
    AtMinIsr Gauge "ringlog_at_min_isr_partitions" [] "Partitions led by this broker with as many replicas in sync as min.insync.replicas, and more replicas.";
    NotPreferredLeader Gauge "ringlog_preferred_leader_imbalance_partitions" [] "Partitions that this broker should lead and does not.";
    Reassigning Gauge "ringlog_reassigning_partitions" [] "Partitions led by this broker whose replicas are being moved.";
    FollowerLagMax Gauge "ringlog_follower_lag_max_records" [] "Lag of the follower furthest behind, of all partitions that this broker leads.";
    IsrShrinks Counter "ringlog_isr_shrinks_total" [] "Changes by which a partition that this broker leads then lost replicas in sync.";
    IsrExpansions Counter "ringlog_isr_expansions_total" [] "Changes by which a partition that this broker leads then gained replicas in sync.";
    Elections Counter "ringlog_leader_elections_total" ["kind"]
        "Elections of this broker as leader of a partition that existed before: clean, preferred (the first replica took over from a leader in sync), eligible (KIP-966) or unclean.";
    ReplicatedOut Counter "ringlog_replication_sent_bytes_total" ["shard"] "Bytes of record batches sent to followers.";
    ReplicatedIn Counter "ringlog_replication_received_bytes_total" ["shard"] "Bytes of record batches received from leaders.";

    ClusterBrokers Gauge "ringlog_cluster_brokers" [] "Brokers of the cluster, as this broker knows it.";
    ClusterFenced Gauge "ringlog_cluster_fenced_brokers" [] "Brokers of the cluster that are fenced, as this broker knows it.";
    ClusterTopics Gauge "ringlog_cluster_topics" [] "Topics of the cluster, as this broker knows it.";
    ClusterPartitions Gauge "ringlog_cluster_partitions" [] "Partitions of the cluster, as this broker knows it.";
    ClusterOffline Gauge "ringlog_cluster_offline_partitions" [] "Partitions of the cluster that nobody leads, as this broker knows it.";
    ActiveController Gauge "ringlog_active_controller" [] "1 on the broker that leads the metadata quorum, else 0.";
    LeaderKnown Gauge "ringlog_metadata_leader_known" [] "1 where this broker knows who leads the metadata quorum, else 0.";
    Fenced Gauge "ringlog_broker_fenced" [] "1 where this broker is fenced, as it knows itself, else 0.";
    Lease Gauge "ringlog_broker_lease_seconds" [] "How long this broker may still serve what is replicated without hearing of the controller.";
    RaftTerm Gauge "ringlog_raft_term" [] "Term of the metadata quorum.";
    RaftLast Gauge "ringlog_raft_last_log_index" [] "Last entry of this broker's metadata log.";
    RaftCommitted Gauge "ringlog_raft_commit_index" [] "Last entry that is known here to be committed.";
    RaftApplied Gauge "ringlog_raft_applied_index" [] "Last entry that this broker has applied.";
    RaftCommitLag Gauge "ringlog_raft_commit_lag_entries" [] "Entries of this broker's metadata log that are not known here to be committed.";
    RaftApplyLag Gauge "ringlog_raft_apply_lag_entries" [] "Entries known here to be committed that this broker has not applied.";
    RaftSnapshot Gauge "ringlog_raft_snapshot_index" [] "Last entry of the last snapshot.";
    RaftSnapshotAge Gauge "ringlog_raft_snapshot_lag_entries" [] "Entries applied since the last snapshot.";
    RaftVoters Gauge "ringlog_raft_voters" [] "Members of the metadata quorum that vote.";
    RaftMembers Gauge "ringlog_raft_members" [] "Members of the metadata quorum.";
    RaftSilence Gauge "ringlog_raft_quorum_silence_seconds" [] "Time since a majority was heard of; of the broker that leads the metadata quorum, else 0.";
    MetadataOffset Gauge "ringlog_metadata_offset" [] "Metadata records in this broker's image.";
    MetadataApplied Gauge "ringlog_metadata_applied_offset" [] "Metadata records that all shards of this broker have applied.";

    WalCommits Counter "ringlog_wal_commits_total" ["shard", "path"]
        "Group commits: inline (one small write in which the thread waits), segments, journal, or mixed (to both).";
    WalCommitDuration Histogram "ringlog_wal_commit_duration_seconds" [] "Time from taking what waits until it is durable.";
    WalWriteDuration Histogram "ringlog_wal_write_duration_seconds" [] "Time of all writes of a commit that is not inline.";
    WalSyncDuration Histogram "ringlog_wal_sync_duration_seconds" [] "Time of all syncs of a commit that is not inline.";
    WalInlineDuration Histogram "ringlog_wal_inline_duration_seconds" [] "Time of the one durable write of an inline commit.";
    WalCommitBytes Histogram "ringlog_wal_commit_size_bytes" [] "Bytes that a commit writes.";
    WalCommitLogs Histogram "ringlog_wal_commit_logs" [] "Logs that a commit is of.";
    WalSegmentBytes Counter "ringlog_wal_segment_written_bytes_total" ["shard"] "Bytes that commits have written to segments.";
    WalJournalBytes Counter "ringlog_wal_journal_written_bytes_total" ["shard"] "Bytes that commits have written to the journal.";
    WalWriteBacks Counter "ringlog_wal_write_backs_total" ["shard"] "Pieces that were written from the journal's memory to segments.";
    WalWriteBackBytes Counter "ringlog_wal_write_back_bytes_total" ["shard"] "Bytes that were written from the journal's memory to segments.";
    WalJournalUsed Gauge "ringlog_wal_journal_used_bytes" ["shard"] "Bytes of the journal that may hold what segments lack.";
    WalJournalSize Gauge "ringlog_wal_journal_size_bytes" ["shard"] "Size of the journal's files.";
    TailHits Counter "ringlog_tail_cache_hits_total" ["shard"] "Reads that found what they wanted first in the tail cache.";
    TailMisses Counter "ringlog_tail_cache_misses_total" ["shard"] "Reads that went to segments.";
    TailBytes Gauge "ringlog_tail_cache_bytes" ["shard"] "Memory of the tail cache in use.";
    ChunkHits Counter "ringlog_read_cache_hits_total" ["shard"] "Chunks of segments that a reader found in memory.";
    ChunkAheadHits Counter "ringlog_read_ahead_hits_total" ["shard"] "Those among them that had been read ahead for it.";
    DiskReads Counter "ringlog_disk_reads_total" ["shard", "kind"] "Reads from segments: demanded (a reader waited) or ahead.";
    DiskReadBytes Counter "ringlog_disk_read_bytes_total" ["shard"] "Bytes read from segments.";
    DiskReadDuration Histogram "ringlog_disk_read_duration_seconds" [] "Time of reads from segments that a reader waited for.";
    Segments Gauge "ringlog_log_segments" ["shard"] "Segments of all logs.";
    LogBytes Gauge "ringlog_log_size_bytes" ["shard"] "Size of all logs.";
    RetentionSegments Counter "ringlog_retention_deleted_segments_total" ["shard"] "Segments that retention has deleted.";
    RetentionBytes Counter "ringlog_retention_deleted_bytes_total" ["shard"] "Bytes of the segments that retention has deleted.";
    Recovery Gauge "ringlog_recovery_duration_seconds" ["shard"] "Time from the start of the shard until its logs were open.";
    Compactions Counter "ringlog_compactions_total" ["shard"] "Passes of compaction over a log.";
    CompactionRead Counter "ringlog_compaction_read_bytes_total" ["shard"] "Bytes read by compaction.";
    CompactionWritten Counter "ringlog_compaction_written_bytes_total" ["shard"] "Bytes written by compaction.";
    CompactionLast Gauge "ringlog_compaction_last_duration_seconds" ["shard"] "Duration of the last pass of compaction.";
    CompactionDirty Gauge "ringlog_compaction_max_dirty_ratio" ["shard"]
        "Share of the dirtiest log that compaction has not been over and may be, 0 to 1, when it was last looked at.";
    Uncleanable Gauge "ringlog_uncleanable_partitions" ["shard"] "Partitions that compaction has failed for and not succeeded since.";
    DiskFree Gauge "ringlog_disk_free_bytes" ["dir"] "Space that is left on the file system of the directory: data, or journal if that is elsewhere.";
    DiskTotal Gauge "ringlog_disk_total_bytes" ["dir"] "Size of that file system.";

    ShardBusy Counter "ringlog_shard_busy_seconds_total" ["shard"] "Time in which the shard's thread worked; its rate is the utilisation, 0 to 1.";
    QueueBusy Counter "ringlog_task_queue_busy_seconds_total" ["shard", "queue"] "Time in tasks of a queue.";
    QueueDelay Histogram "ringlog_task_queue_delay_seconds" ["queue"] "Time that a task waits in a queue before it runs, found out once a second.";
    Stalls Counter "ringlog_shard_stalls_total" ["shard"] "Times that the thread got to nothing else for a tenth of a second.";
    StallSeconds Counter "ringlog_shard_stall_seconds_total" ["shard"] "Duration of all these together.";
    LongestStall Gauge "ringlog_shard_longest_stall_seconds" ["shard"] "Duration of the longest since the start.";
    InboxMessages Gauge "ringlog_shard_inbox_messages" ["shard"] "Messages of other threads that the shard has not looked at.";
    BudgetUsed Gauge "ringlog_memory_budget_used_bytes" ["shard", "budget"] "Memory held for clients: requests, arriving (large ones on their way) or responses.";
    BudgetLimit Gauge "ringlog_memory_budget_limit_bytes" ["shard", "budget"] "Where that memory's bound is.";
    WaitingFetches Gauge "ringlog_waiting_fetches" ["shard"] "Fetches that wait for more to answer with.";
    WaitingProduces Gauge "ringlog_waiting_produces" ["shard"] "Produces that wait to be as durable as asked.";
    FetchSessions Gauge "ringlog_fetch_sessions" ["shard"] "Fetch sessions.";
    ProducerIds Gauge "ringlog_producer_ids" ["shard"] "Idempotent producers whose state is kept, counted for each of their partitions.";

    Groups Gauge "ringlog_groups" ["shard", "protocol"] "Groups coordinated here: classic, with those that only commit offsets, or consumer (KIP-848).";
    GroupMembers Gauge "ringlog_group_members" ["shard"] "Members of these groups.";
    GroupLag Gauge "ringlog_group_lag_records" ["group", "topic", "partition"]
        "Records of a partition behind what a group has committed, of groups that this broker coordinates.";
    GroupLagSum Gauge "ringlog_group_total_lag_records" ["group"] "Lag of a group, summed over its partitions.";
    GroupLagMax Gauge "ringlog_group_max_lag_records" ["group"] "Lag of a group in the partition in which it is greatest.";
    GroupLagUnknown Gauge "ringlog_group_lag_unknown_partitions" [] "Partitions of groups whose lag is not known, since their leader was not reached.";
    GroupLagOmittedPartitions Gauge "ringlog_group_lag_omitted_partitions" [] "Partitions of groups without a series of their own, beyond --group-lag-series-max.";
    GroupLagOmittedGroups Gauge "ringlog_group_lag_omitted_groups" [] "Groups without any series, beyond --group-lag-series-max.";
    GroupLagCollections Counter "ringlog_group_lag_collections_total" [] "How often group lag was collected.";

    BuildInfo Gauge "ringlog_build_info" ["version"] "1.";
    LateShards Gauge "ringlog_scrape_late_shards" [] "Shards that did not say in time how they are: what is shown of them is as of the scrape before.";
    ScrapeDuration Gauge "ringlog_scrape_duration_seconds" [] "How long the scrape before this one took.";
    CpuSeconds Counter "process_cpu_seconds_total" [] "Processor time, of user and system.";
    ResidentBytes Gauge "process_resident_memory_bytes" [] "Resident memory.";
    VirtualBytes Gauge "process_virtual_memory_bytes" [] "Virtual memory.";
    StartTime Gauge "process_start_time_seconds" [] "Start of the process, since the Unix epoch.";
    OpenFds Gauge "process_open_fds" [] "Open file descriptors.";
    MaxFds Gauge "process_max_fds" [] "File descriptors that may be open.";
    Threads Gauge "process_threads" [] "Threads.";
}
