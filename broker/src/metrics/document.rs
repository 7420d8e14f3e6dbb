//! `docs/metrics.md` is what the list of families says, and nothing else.

use instruments::{Families, Family};

use super::Metric;
use super::topics::OTHERS;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");

/// A part of the document: the family that it begins with, its title, and what is said before and behind its table.
struct Part {
    first: Metric,
    title: &'static str,
    before: &'static str,
    behind: &'static str,
}

const PARTS: &[Part] = &[
    Part {
        first: Metric::Requests,
        title: "Requests and connections",
        before: "",
        behind: "`ringlog_request_duration_seconds` of Fetch holds the time that clients let a fetch wait for records \
                 (`fetch.max.wait.ms`): an idle consumer's is about that. Of Produce it holds the wait for the disk, and with \
                 `acks=all` that for other brokers. An error is counted wherever an answer has it; some belong to everyday life, \
                 such as NOT_LEADER_OR_FOLLOWER after a leader has moved.",
    },
    Part {
        first: Metric::ProducedBytes,
        title: "Traffic",
        before: "Of each shard, as records come and go there, and of each topic.",
        behind: "At most `--topic-series-max` (1,000) topics have series. A topic keeps its own as long as this broker has a \
                 replica of it, whatever topics come; free places go to topics in the order of their names. Traffic of all \
                 others is added up in the series of `topic=\"(others)\"`, a name that no topic can have, and \
                 `ringlog_topics_omitted` says how many these are. What a topic is counted does not go back while the topic \
                 exists. Records that groups store in `__consumer_offsets` count as produced there. What was read for a \
                 consumer and found no room in its answer is not counted.",
    },
    Part {
        first: Metric::PartitionLogStart,
        title: "Partitions",
        before: "Of the replicas on this broker.",
        behind: "At most `--partition-series-max` (1,000) replicas have series, in the order of topics' names and of partitions.",
    },
    Part {
        first: Metric::Partitions,
        title: "Replication",
        before: "Never cut short, however many partitions there are.",
        behind: "A change of an ISR, and an election, is counted by the broker that leads afterwards, so that the sum over \
                 brokers counts each once. A partition's creation is neither.",
    },
    Part {
        first: Metric::ClusterBrokers,
        title: "The cluster and its metadata quorum",
        before: "Every broker tells what it knows: take `max` over brokers, not `sum`.",
        behind: "",
    },
    Part {
        first: Metric::WalCommits,
        title: "Logs and disks",
        before: "Histograms are of all shards together, since these share the disks.",
        behind: "",
    },
    Part {
        first: Metric::ShardBusy,
        title: "Shards",
        before: "",
        behind: "`rate(ringlog_shard_busy_seconds_total[1m])` is a shard's utilisation. A stall is a time of a tenth of a second \
                 and more in which a task, or the machine, let nothing else of the shard run.",
    },
    Part {
        first: Metric::Groups,
        title: "Consumer groups",
        before: "Of the groups that this broker coordinates, of either protocol, and of those that only commit offsets. Lag is the \
                 number of offsets between what is committed and the high watermark; in a compacted log there may be fewer \
                 records than that. It is collected in the background every `--group-lag-interval-ms` (10 s), never when somebody \
                 asks.",
        behind: "At most `--group-lag-series-max` (1,000) partitions have a series, and as many groups; 0 turns group lag off. \
                 Groups come in the order of their names, and one is shown with all of its partitions or with none; sum and \
                 maximum remain as long as there is room for those. A broker looks at some 65,000 committed offsets in all; groups \
                 beyond that are counted as omitted. If `ringlog_group_lag_collections_total` stands still, so does all of this.\n\n\
                 A group that is deleted, or whose offsets have expired, is gone with the next collection. When another broker \
                 becomes its coordinator, both may tell of it until then: \
                 `max by (group, topic, partition) (ringlog_group_lag_records)` counts it once. `ringlog group describe` shows the \
                 same for one group at this moment.",
    },
    Part { first: Metric::BuildInfo, title: "The process", before: "", behind: "" },
];

const HEAD: &str = "\
# Metrics

`http://127.0.0.1:9094/metrics` (`--http-addr`) in the Prometheus text format, or in OpenMetrics 1.0 for who asks for
`application/openmetrics-text`. Every family is there from the first scrape on, before any client has come; what a broker does
not know yet, while it starts, has no samples. Each broker tells of itself alone.

Alerts and recording rules are in [deploy/prometheus/rules.yml](../deploy/prometheus/rules.yml), what to do about them in the
[runbook](runbook.md), dashboards in [deploy/grafana](../deploy/grafana). How it is counted: [design/metrics.md](design/metrics.md).

Counters begin with the process. Histograms of durations have bounds from 16 us to 8.4 s, each twice the one before. Label
`shard` is a number from 0 on.
";

/// Breaks a paragraph into lines of the document's width.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    for paragraph in text.split("\n\n") {
        let mut width = 0;
        for word in paragraph.split_whitespace() {
            let length = word.chars().count();
            if width > 0 && width + 1 + length > 128 {
                out.push('\n');
                width = 0;
            } else if width > 0 {
                out.push(' ');
                width += 1;
            }
            out.push_str(word);
            width += length;
        }
        out.push_str("\n\n");
    }
    out
}

fn document() -> String {
    let mut out = HEAD.to_owned();
    for (at, part) in PARTS.iter().enumerate() {
        let end = PARTS.get(at + 1).map_or(Metric::ALL.len(), |next| next.first.index());
        out.push_str(&format!("\n## {}\n\n", part.title));
        if !part.before.is_empty() {
            out.push_str(&wrapped(part.before));
        }
        out.push_str("| family | kind | labels | what it tells |\n|---|---|---|---|\n");
        for Family { name, kind, labels, help } in &Metric::ALL[part.first.index()..end] {
            let labels: Vec<_> = labels.iter().map(|label| format!("`{label}`")).collect();
            out.push_str(&format!("| `{name}` | {} | {} | {help} |\n", kind.name(), labels.join(", ")));
        }
        if !part.behind.is_empty() {
            out.push('\n');
            out.push_str(wrapped(part.behind).trim_end());
            out.push('\n');
        }
    }
    out
}

#[test]
fn the_document_names_every_family_and_no_other() {
    assert_eq!(PARTS[0].first.index(), 0, "the first part begins with the first family");
    let document = document();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(DOCUMENT, &document).unwrap();
    }
    let found = std::fs::read_to_string(DOCUMENT).unwrap();
    assert!(found == document, "docs/metrics.md is out of date: run this test with UPDATE_DOCS=1");
    assert!(document.contains(OTHERS));
}

#[test]
fn names_follow_the_rules_of_both_formats() {
    let mut names = std::collections::BTreeSet::new();
    for family in Metric::ALL {
        let name = family.name;
        assert!(names.insert(name), "{name} is there twice");
        assert!(name.starts_with("ringlog_") || name.starts_with("process_"), "{name}");
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{name}");
        assert_eq!(name.ends_with("_total"), family.kind == instruments::Kind::Counter, "{name}");
        for suffix in ["_count", "_sum", "_bucket", "_created", "_milliseconds", "_percent"] {
            assert!(!name.ends_with(suffix), "{name}");
        }
        assert!(family.help.ends_with('.') && !family.help.contains(['\\', '"', '\n']), "{name}: {}", family.help);
        assert!(!family.labels.contains(&"le"), "{name}");
    }
    assert!(Metric::ALL.len() >= 40);
}
