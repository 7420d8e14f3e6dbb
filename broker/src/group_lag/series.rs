//! Lag laid out as series: pure.
//!
//! Groups come in the order of their names. One whose partitions are more than there is room for has no series of them, since
//! some of a group's partitions would pass for all; its sum and maximum remain as long as there is room for those.

use std::fmt::Write;

use super::{CommittedOffset, CommittedOffsets};

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
}

/// `end` is the high watermark of an offset's partition, if it is known. At most `series_max` partitions have a series, and as
/// many groups.
pub(super) fn lay_out(
    committed: &CommittedOffsets,
    end: impl Fn(&CommittedOffset) -> Option<i64>,
    series_max: usize,
) -> Snapshot {
    let mut snapshot = Snapshot {
        omitted_partitions: committed.omitted_partitions,
        omitted_groups: committed.omitted_groups,
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
    /// In the Prometheus text format; `collections` is how often this was made.
    pub(super) fn render(&self, collections: u64) -> String {
        let mut out = String::new();
        let mut family = |name: &str, kind: &str, help: &str, series: &mut dyn Iterator<Item = (String, u64)>| {
            // Writing to a string does not fail.
            let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in series {
                let _ = writeln!(out, "{name}{labels} {value}");
            }
        };
        family(
            "ringlog_group_lag_records",
            "gauge",
            "Records of a partition behind what a group has committed, of groups that this broker coordinates.",
            &mut self.partitions.iter().map(|one| {
                let OfPartition { group, topic, partition, lag } = one;
                let (group, topic) = (escaped(group), escaped(topic));
                (format!("{{group=\"{group}\",topic=\"{topic}\",partition=\"{partition}\"}}"), *lag)
            }),
        );
        family(
            "ringlog_group_total_lag_records",
            "gauge",
            "Lag of a group, summed over its partitions.",
            &mut self.groups.iter().map(|one| (format!("{{group=\"{}\"}}", escaped(&one.group)), one.sum)),
        );
        family(
            "ringlog_group_max_lag_records",
            "gauge",
            "Lag of a group in the partition in which it is greatest.",
            &mut self.groups.iter().map(|one| (format!("{{group=\"{}\"}}", escaped(&one.group)), one.max)),
        );
        let mut single = |name, kind, help, value: u64| {
            family(name, kind, help, &mut std::iter::once((String::new(), value)));
        };
        single(
            "ringlog_group_lag_unknown_partitions",
            "gauge",
            "Partitions of groups whose lag is not known, since their leader was not reached.",
            self.unknown_partitions as u64,
        );
        single(
            "ringlog_group_lag_omitted_partitions",
            "gauge",
            "Partitions of groups without a series of their own, beyond --group-lag-series-max.",
            self.omitted_partitions as u64,
        );
        single(
            "ringlog_group_lag_omitted_groups",
            "gauge",
            "Groups without any series, beyond --group-lag-series-max.",
            self.omitted_groups as u64,
        );
        single("ringlog_group_lag_collections_total", "counter", "How often group lag was collected.", collections);
        out
    }
}

/// A label's value: any text may be the name of a group.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::GroupOffsets;
    use super::*;
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
        let text = snapshot.render(3);
        text.lines().filter(|line| !line.starts_with('#')).map(|line| line.replace("ringlog_group_", "")).collect()
    }

    #[test]
    fn lag_is_what_is_behind_the_committed_offset() {
        let groups =
            vec![group("b", &[("t", 0, 10), ("t", 1, 12)]), group("a", &[("t", 0, 3), ("t", 1, 9), ("away", 0, 1)])];
        assert_eq!(
            series(&lay_out(&committed(groups), end, 100)),
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
        let laid_out = lay_out(&committed(groups), end, 2);
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
        let laid_out = lay_out(&omitted, end, 2);
        assert_eq!((laid_out.omitted_groups, laid_out.omitted_partitions), (4, 9));
    }

    #[test]
    fn every_family_is_there_without_series_too() {
        let text = Snapshot::default().render(0);
        for family in ["lag_records", "total_lag_records", "max_lag_records"] {
            assert!(text.contains(&format!("# TYPE ringlog_group_{family} gauge\n")), "{family}");
        }
        assert!(text.ends_with("ringlog_group_lag_collections_total 0\n"));
    }

    #[test]
    fn names_cannot_break_out_of_their_label() {
        let laid_out = lay_out(&committed(vec![group("a\"} 1\n\\", &[("t", 0, 0)])]), end, 2);
        assert!(laid_out.render(1).contains("total_lag_records{group=\"a\\\"} 1\\n\\\\\"} 10\n"));
    }
}
