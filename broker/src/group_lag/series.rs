//! Lag laid out as series: pure.
//!
//! Groups come in the order of their names. One whose partitions are more than there is room for has no series of them, since
//! some of a group's partitions would pass for all; its sum and maximum remain as long as there is room for those.

use instruments::Exposition;

use super::{CommittedOffset, CommittedOffsets};
use crate::metrics::Metric;

/// The lag of one partition, in records.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OfPartition {
    group: String,
    topic: String,
    partition: i32,
    lag: u64,
}

/// The lag of a group, in records.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OfGroup {
    group: String,
    sum: u64,
    max: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Snapshot {
    partitions: Vec<OfPartition>,
    groups: Vec<OfGroup>,
    /// Partitions, and groups, that have no series for want of room.
    omitted_partitions: usize,
    omitted_groups: usize,
    /// Partitions, of all groups, whose leader did not say how far they are.
    unknown_partitions: usize,
    /// How often one was made.
    collections: u64,
}

/// Nothing, since nothing is wanted.
pub(super) fn nothing(collections: u64) -> Snapshot {
    Snapshot { collections, ..Snapshot::default() }
}

/// `end` is the high watermark of an offset's partition, if it is known. At most `series_max` partitions have a series, and as
/// many groups. `collections` is how often this was done.
pub(super) fn lay_out(
    committed: &CommittedOffsets,
    end: impl Fn(&CommittedOffset) -> Option<i64>,
    series_max: usize,
    collections: u64,
) -> Snapshot {
    let mut snapshot = Snapshot {
        omitted_partitions: committed.omitted_partitions,
        omitted_groups: committed.omitted_groups,
        collections,
        ..Snapshot::default()
    };
    let mut groups: Vec<_> = committed.groups.iter().collect();
    groups.sort_by(|a, b| a.group.cmp(&b.group));
    for group in groups {
        // A log that was cut off below what is committed has nothing that is not read.
        let lags = group.offsets.iter().map(|offset| {
            let lag = end(offset).map(|end| u64::try_from(end.saturating_sub(offset.offset)).unwrap_or(0));
            (offset, lag)
        });
        let known: Vec<_> = lags.filter_map(|(offset, lag)| Some((offset, lag?))).collect();
        snapshot.unknown_partitions += group.offsets.len() - known.len();
        if known.is_empty() {
            continue;
        }
        if snapshot.groups.len() < series_max {
            snapshot.groups.push(OfGroup {
                group: group.group.to_string(),
                sum: known.iter().fold(0, |sum, (_, lag)| sum.saturating_add(*lag)),
                max: known.iter().map(|(_, lag)| *lag).max().unwrap_or(0),
            });
        } else {
            snapshot.omitted_groups += 1;
        }
        if snapshot.partitions.len() + known.len() > series_max {
            snapshot.omitted_partitions += known.len();
            continue;
        }
        snapshot.partitions.extend(known.into_iter().map(|(offset, lag)| OfPartition {
            group: group.group.to_string(),
            topic: offset.topic.to_string(),
            partition: offset.partition,
            lag,
        }));
    }
    snapshot
}

impl Snapshot {
    pub(super) fn put(&self, out: &mut Exposition<Metric>) {
        for OfPartition { group, topic, partition, lag } in &self.partitions {
            out.sample(Metric::GroupLag, &[group, topic, &partition.to_string()], *lag);
        }
        for OfGroup { group, sum, max } in &self.groups {
            out.sample(Metric::GroupLagSum, &[group], *sum);
            out.sample(Metric::GroupLagMax, &[group], *max);
        }
        out.sample(Metric::GroupLagUnknown, &[], self.unknown_partitions);
        out.sample(Metric::GroupLagOmittedPartitions, &[], self.omitted_partitions);
        out.sample(Metric::GroupLagOmittedGroups, &[], self.omitted_groups);
        out.sample(Metric::GroupLagCollections, &[], self.collections);
    }
}

#[cfg(test)]
mod tests {
    use super::super::GroupOffsets;
    use super::*;
    use instruments::Format;
    use protocol::TopicId;

    fn group(name: &str, offsets: &[(&str, i32, i64)]) -> GroupOffsets {
        let offset = |&(topic, partition, offset): &(&str, i32, i64)| CommittedOffset {
            topic: topic.to_owned().into(),
            topic_id: TopicId::ZERO,
            partition,
            offset,
        };
        GroupOffsets { group: name.to_owned().into(), offsets: offsets.iter().map(offset).collect() }
    }

    fn committed(groups: Vec<GroupOffsets>) -> CommittedOffsets {
        CommittedOffsets { groups, ..CommittedOffsets::default() }
    }

    /// Partitions end at 10; those of topic `away` are not known.
    fn end(offset: &CommittedOffset) -> Option<i64> {
        (&*offset.topic != "away").then_some(10)
    }

    fn series(snapshot: &Snapshot) -> Vec<String> {
        let mut out = Exposition::new(Format::Prometheus);
        snapshot.put(&mut out);
        let text = out.text();
        text.lines().filter_map(|line| line.strip_prefix("ringlog_group_")).map(str::to_owned).collect()
    }

    #[test]
    fn lag_is_what_is_behind_the_committed_offset() {
        let groups =
            vec![group("b", &[("t", 0, 10), ("t", 1, 12)]), group("a", &[("t", 0, 3), ("t", 1, 9), ("away", 0, 1)])];
        assert_eq!(
            series(&lay_out(&committed(groups), end, 100, 3)),
            [
                "lag_records{group=\"a\",topic=\"t\",partition=\"0\"} 7",
                "lag_records{group=\"a\",topic=\"t\",partition=\"1\"} 1",
                "lag_records{group=\"b\",topic=\"t\",partition=\"0\"} 0",
                "lag_records{group=\"b\",topic=\"t\",partition=\"1\"} 0",
                "total_lag_records{group=\"a\"} 8",
                "total_lag_records{group=\"b\"} 0",
                "max_lag_records{group=\"a\"} 7",
                "max_lag_records{group=\"b\"} 0",
                "lag_unknown_partitions 1",
                "lag_omitted_partitions 0",
                "lag_omitted_groups 0",
                "lag_collections_total 3",
            ]
        );
    }

    #[test]
    fn a_group_that_has_no_room_keeps_its_sum_and_one_beyond_that_is_counted() {
        let groups =
            vec![group("a", &[("t", 0, 0)]), group("b", &[("t", 0, 0), ("t", 1, 0)]), group("c", &[("t", 0, 5)])];
        let laid_out = lay_out(&committed(groups), end, 2, 3);
        assert_eq!(
            series(&laid_out),
            [
                "lag_records{group=\"a\",topic=\"t\",partition=\"0\"} 10",
                // None of b's, rather than one of two; there was room for c's.
                "lag_records{group=\"c\",topic=\"t\",partition=\"0\"} 5",
                "total_lag_records{group=\"a\"} 10",
                "total_lag_records{group=\"b\"} 20",
                "max_lag_records{group=\"a\"} 10",
                "max_lag_records{group=\"b\"} 10",
                "lag_unknown_partitions 0",
                "lag_omitted_partitions 2",
                "lag_omitted_groups 1",
                "lag_collections_total 3",
            ]
        );
        let omitted = CommittedOffsets { groups: Vec::new(), omitted_groups: 4, omitted_partitions: 9 };
        let laid_out = lay_out(&omitted, end, 2, 3);
        assert_eq!((laid_out.omitted_groups, laid_out.omitted_partitions), (4, 9));
    }
}
