//! `ringlog topic describe`.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::args::DescribeArgs;
use super::seen::{self, Partition, Topic};
use crate::cli::config_command::{Described, Resource, described_all};
use crate::cli::kafka::Client;
use crate::cli::table::{Column, Table, known, list, numbers, words};
use crate::cli::told::{Failure, Told};

const MIN_ISR: &str = "min.insync.replicas";

/// By topic.
type Configs = BTreeMap<String, Vec<Described>>;

pub(super) async fn run(client: &Client, args: &DescribeArgs) -> Result<Told, Failure> {
    let (mut topics, mut problems) = match args.topics.is_empty() {
        true => (seen::all(client).await?, Vec::new()),
        false => seen::named(client, &args.topics).await?,
    };
    seen::add_eligible(client, &mut topics).await?;
    let mut configs = Configs::new();
    // Of each topic, since filters ask for min.insync.replicas.
    let resources = topics.iter().map(|topic| Resource::topic(&topic.name)).collect::<Vec<_>>();
    for (topic, described) in topics.iter().zip(described_all(client, &resources, None, false).await?) {
        match described {
            Ok(described) => drop(configs.insert(topic.name.clone(), described)),
            Err(why) => problems.push(format!("the configs of topic '{}' are missing: {why}", topic.name)),
        }
    }
    if args.has_filter() {
        for topic in &mut topics {
            let min_isr = min_isr(&configs, &topic.name);
            topic.partitions.retain(|partition| is_wanted(partition, min_isr, args));
        }
        topics.retain(|topic| !topic.partitions.is_empty());
    }
    let mut told = match (args.json, args.has_filter()) {
        (true, _) => Told::json(&to_json(&topics, &configs)),
        (false, true) => Told::text(filtered_text(&topics)),
        (false, false) => Told::text(to_text(&topics, &configs)),
    };
    if topics.is_empty() && !args.json && problems.is_empty() {
        told = Told::default();
        told.notes.push(match args.has_filter() {
            true => none_is(args),
            false => "there are no topics; `ringlog topic create TOPIC` creates one".to_owned(),
        });
    }
    told.problems = problems;
    Ok(told)
}

/// That nothing was found, as the answer that was hoped for.
fn none_is(args: &DescribeArgs) -> String {
    let asked = [
        (args.under_replicated, "is under-replicated"),
        (args.unavailable, "is without a leader"),
        (args.under_min_isr, "has fewer replicas in sync than min.insync.replicas"),
    ];
    let asked: Vec<&str> = asked.into_iter().filter(|(is_asked, _)| *is_asked).map(|(_, what)| what).collect();
    format!("no partition {}", asked.join(" and "))
}

fn min_isr(configs: &Configs, topic: &str) -> Option<usize> {
    configs.get(topic)?.iter().find(|config| config.name == MIN_ISR)?.value.as_ref()?.parse().ok()
}

/// With all conditions that are asked for.
fn is_wanted(partition: &Partition, min_isr: Option<usize>, args: &DescribeArgs) -> bool {
    (!args.under_replicated || partition.is_under_replicated())
        && (!args.unavailable || partition.leader.is_none())
        && (!args.under_min_isr || min_isr.is_some_and(|min| partition.isr.len() < min))
}

const COLUMNS: [Column; 8] = [
    words("TOPIC"),
    numbers("PARTITION"),
    numbers("LEADER"),
    numbers("EPOCH"),
    words("REPLICAS"),
    words("ISR"),
    words("OFFLINE"),
    words("ELIGIBLE"),
];

fn table(topics: &[Topic]) -> Table {
    let rows = topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            vec![
                topic.name.clone(),
                partition.partition.to_string(),
                partition.leader.map_or("none".to_owned(), |leader| leader.to_string()),
                partition.leader_epoch.to_string(),
                list(&partition.replicas),
                list(&partition.isr),
                list(&partition.offline),
                list(partition.eligible.as_deref().unwrap_or_default()),
            ]
        })
    });
    Table::new(COLUMNS, rows)
}

fn filtered_text(topics: &[Topic]) -> String {
    table(topics).text()
}

fn to_text(topics: &[Topic], configs: &Configs) -> String {
    let sections = topics.iter().map(|topic| {
        let mut text = format!(
            "{}: {} partition(s) of {} replica(s), id {}{}\n",
            topic.name,
            topic.partitions.len(),
            topic.replication_factor(),
            known(topic.id.as_ref()),
            if topic.is_internal { ", internal" } else { "" }
        );
        let set: Vec<String> = not_default(configs, &topic.name)
            .map(|config| format!("{}={}", config.name, config.shown_value()))
            .collect();
        if !set.is_empty() {
            text.push_str(&format!("configs: {}\n", set.join(" ")));
        }
        text.push_str(&table(std::slice::from_ref(topic)).retain(|name| name != "TOPIC").text());
        text
    });
    sections.collect::<Vec<_>>().join("\n")
}

fn not_default<'a>(configs: &'a Configs, topic: &str) -> impl Iterator<Item = &'a Described> {
    configs.get(topic).into_iter().flatten().filter(|config| !config.is_default())
}

fn to_json(topics: &[Topic], configs: &Configs) -> Value {
    let topics = topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            json!({
                "partition": partition.partition,
                "leader": partition.leader,
                "leader_epoch": partition.leader_epoch,
                "replicas": partition.replicas,
                "isr": partition.isr,
                "offline_replicas": partition.offline,
                "eligible_leader_replicas": partition.eligible,
            })
        });
        let set = not_default(configs, &topic.name).map(|config| (config.name.clone(), json!(config.value)));
        json!({
            "topic": topic.name,
            "topic_id": topic.id,
            "is_internal": topic.is_internal,
            "replication_factor": topic.replication_factor(),
            "configs": set.collect::<serde_json::Map<_, _>>(),
            "partitions": partitions.collect::<Vec<_>>(),
        })
    });
    json!({ "topics": topics.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> DescribeArgs {
        DescribeArgs {
            topics: Vec::new(),
            under_replicated: false,
            unavailable: false,
            under_min_isr: false,
            json: false,
        }
    }

    #[test]
    fn filters_have_to_hold_together() {
        let partition = |leader, isr: &[i32]| Partition {
            leader,
            isr: isr.to_vec(),
            replicas: vec![1, 2, 3],
            ..Partition::default()
        };
        let whole = partition(Some(1), &[1, 2, 3]);
        let short = partition(Some(1), &[1]);
        let dead = partition(None, &[]);
        let under_replicated = DescribeArgs { under_replicated: true, ..args() };
        let unavailable = DescribeArgs { unavailable: true, ..args() };
        let under_min_isr = DescribeArgs { under_min_isr: true, ..args() };
        let both = DescribeArgs { unavailable: true, ..DescribeArgs { under_replicated: true, ..args() } };
        for (args, expected) in [
            (args(), [true, true, true]),
            (under_replicated, [false, true, true]),
            (unavailable, [false, false, true]),
            (under_min_isr, [false, true, true]),
            (both, [false, false, true]),
        ] {
            let found = [&whole, &short, &dead].map(|one| is_wanted(one, Some(2), &args));
            assert_eq!(found, expected, "{args:?}");
        }
        assert!(!is_wanted(&dead, None, &DescribeArgs { under_min_isr: true, ..args() }));
    }

    #[test]
    fn that_none_was_found_is_an_answer() {
        let under_replicated = DescribeArgs { under_replicated: true, ..args() };
        assert_eq!(none_is(&under_replicated), "no partition is under-replicated");
        let both = DescribeArgs { unavailable: true, ..under_replicated };
        assert_eq!(none_is(&both), "no partition is under-replicated and is without a leader");
    }

    #[test]
    fn topics_are_described_one_after_the_other() {
        let partition = Partition {
            partition: 0,
            leader: None,
            leader_epoch: 3,
            replicas: vec![1, 2],
            isr: vec![],
            offline: vec![1],
            eligible: Some(vec![1]),
        };
        let topic = |name: &str| Topic {
            name: name.to_owned(),
            id: None,
            is_internal: false,
            partitions: vec![partition.clone()],
        };
        let table = "PARTITION  LEADER  EPOCH  REPLICAS  ISR  OFFLINE  ELIGIBLE\n        \
                     0    none      3  1,2       -    1        1\n";
        assert_eq!(
            to_text(&[topic("a"), topic("b")], &Configs::new()),
            format!(
                "a: 1 partition(s) of 2 replica(s), id -\n{table}\nb: 1 partition(s) of 2 replica(s), id -\n{table}"
            )
        );
    }
}
