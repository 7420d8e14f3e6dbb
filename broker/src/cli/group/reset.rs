//! `ringlog group reset-offsets`: looks at the group and the logs, plans ([`super::plan`]), and commits.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{SystemTime, UNIX_EPOCH};

use kafka_protocol::ResponseError;
use serde_json::json;

use super::args::{ResetArgs, ResetTo};
use super::committed::{self, Offsets};
use super::described::{self, Description};
use super::plan::{Known, NothingToShift, Target, plan};
use super::scope::{TopicScope, parse_csv};
use super::{Told, of_group};
use crate::cli::kafka::{At, Client, PartitionName, code_name};
use crate::cli::table::{Table, known, numbers, words};

/// Members that an error names.
const MEMBERS_SHOWN_MAX: usize = 10;
/// Bytes of a file with offsets.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A partition's new offset.
struct Planned {
    name: PartitionName,
    current: Option<i64>,
    new: i64,
    log_end: i64,
}

pub(super) async fn run(client: &Client, args: &ResetArgs) -> Result<Told, String> {
    let targets = Targets::of(&args.to)?;
    let group = &args.group;
    inactive(client, group).await?;
    let names = [group.clone()];
    let current = committed::fetch(client, &names).await.remove(group).expect("each group is in the outcome");
    let current = current.map_err(|error| of_group(group, &error))?;
    let partitions = partitions(client, args, &targets, &current).await?;
    let mut told = Told::default();
    let planned = plan_all(client, group, &targets, &partitions, &current, &mut told).await?;
    let mut failed = BTreeMap::new();
    if args.execute {
        failed = execute(client, group, &planned).await?;
        for (name, error) in &failed {
            told.problems.push(format!("{}-{} was not reset: {}", name.0, name.1, code_name(*error)));
        }
    } else if !args.csv && !args.json {
        told.notes.push("dry run: nothing was changed, --execute resets the offsets".to_owned());
    }
    let done: Vec<&Planned> = planned.iter().filter(|one| !failed.contains_key(&one.name)).collect();
    told.text = match args {
        ResetArgs { csv: true, .. } => csv(&done),
        ResetArgs { json: true, .. } => to_json(group, args.execute, &done),
        _ => to_text(group, &done),
    };
    Ok(told)
}

/// Where to, for all partitions or for each.
enum Targets {
    All(Target),
    Each(BTreeMap<PartitionName, i64>),
}

impl Targets {
    fn of(to: &ResetTo) -> Result<Targets, String> {
        let now_ms = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
        };
        if let Some(path) = &to.from_file {
            let failed = |why: String| format!("{}: {why}", path.display());
            let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
            if size > FILE_BYTES_MAX {
                return Err(failed(format!("it has {size} bytes, and may have {FILE_BYTES_MAX}")));
            }
            let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
            return parse_csv(&text).map(Targets::Each).map_err(failed);
        }
        let target = match *to {
            ResetTo { to_earliest: true, .. } => Target::Earliest,
            ResetTo { to_latest: true, .. } => Target::Latest,
            ResetTo { to_offset: Some(offset), .. } => Target::Offset(offset),
            ResetTo { shift_by: Some(records), .. } => Target::ShiftBy(records),
            ResetTo { to_datetime: Some(ms), .. } => Target::Timestamp(ms),
            ResetTo { by_duration: Some(ms), .. } => Target::Timestamp(now_ms().saturating_sub(ms).max(0)),
            // The command line has one of them.
            _ => Target::Current,
        };
        Ok(Targets::All(target))
    }

    fn of_partition(&self, name: &PartitionName) -> Target {
        match self {
            Targets::All(target) => *target,
            Targets::Each(offsets) => offsets.get(name).map_or(Target::Current, |offset| Target::Offset(*offset)),
        }
    }
}

/// Refuses groups that have members. One that does not exist has none.
async fn inactive(client: &Client, group: &str) -> Result<(), String> {
    let described = described::describe(client, &[group.to_owned()]).await.remove(group);
    match described.expect("each group is in the outcome") {
        Ok(found) if found.description.is_inactive() => Ok(()),
        Ok(found) => Err(active(group, &found.description)),
        Err(error) if error.refusal() == Some(ResponseError::GroupIdNotFound) => Ok(()),
        Err(error) => Err(of_group(group, &error)),
    }
}

fn active(group: &str, description: &Description) -> String {
    let Description { state, members, .. } = description;
    let shown = members.iter().take(MEMBERS_SHOWN_MAX).map(|member| {
        format!("{} (client id '{}' at {})", member.id, member.client_id, member.host.trim_start_matches('/'))
    });
    let mut shown: Vec<String> = shown.collect();
    if members.len() > shown.len() {
        shown.push(format!("{} more", members.len() - shown.len()));
    }
    format!(
        "offsets can only be reset while group '{group}' has no members, and it is {state} with {}: {}; stop them and try again",
        members.len(),
        shown.join(", ")
    )
}

/// Which partitions are meant; all of them exist.
async fn partitions(
    client: &Client,
    args: &ResetArgs,
    targets: &Targets,
    current: &Offsets,
) -> Result<BTreeSet<PartitionName>, String> {
    let scopes: Vec<TopicScope> = match targets {
        Targets::Each(offsets) => scopes(offsets.keys()),
        Targets::All(_) if args.all_topics && current.is_empty() => {
            let group = &args.group;
            return Err(format!("group '{group}' has no committed offsets: name topics with --topic"));
        }
        Targets::All(_) if args.all_topics => scopes(current.keys()),
        Targets::All(_) => args.topic.clone(),
    };
    resolve(client, &scopes).await
}

fn scopes<'a>(names: impl Iterator<Item = &'a PartitionName>) -> Vec<TopicScope> {
    let scope = |(topic, partition): &PartitionName| TopicScope {
        topic: topic.clone(),
        partitions: Some(BTreeSet::from([*partition])),
    };
    names.map(scope).collect()
}

/// The partitions of scopes; refuses those that do not exist.
pub(super) async fn resolve(client: &Client, scopes: &[TopicScope]) -> Result<BTreeSet<PartitionName>, String> {
    let names = scopes.iter().map(|scope| scope.topic.clone()).collect();
    let topics = client.topics(&names).await.map_err(|error| error.to_string())?;
    let mut partitions = BTreeSet::new();
    for TopicScope { topic, partitions: wanted } in scopes {
        let known = match &topics[topic] {
            Ok(known) => known,
            Err(error) if error.refusal() == Some(ResponseError::UnknownTopicOrPartition) => {
                return Err(format!("there is no topic '{topic}'"));
            }
            Err(error) => return Err(error.to_string()),
        };
        let count = known.len();
        for partition in wanted.iter().flatten() {
            if !known.contains_key(partition) {
                return Err(format!("topic '{topic}' has no partition {partition}: it has {count}"));
            }
        }
        let all = || known.keys().copied().collect::<BTreeSet<i32>>();
        let wanted = wanted.clone().unwrap_or_else(all);
        partitions.extend(wanted.into_iter().map(|partition| (topic.clone(), partition)));
    }
    Ok(partitions)
}

async fn plan_all(
    client: &Client,
    group: &str,
    targets: &Targets,
    partitions: &BTreeSet<PartitionName>,
    current: &Offsets,
    told: &mut Told,
) -> Result<Vec<Planned>, String> {
    let starts = offsets(client, partitions, At::Earliest).await?;
    let ends = offsets(client, partitions, At::Latest).await?;
    let at_timestamp = match targets {
        Targets::All(Target::Timestamp(ms)) => offsets(client, partitions, At::Timestamp(*ms)).await?,
        _ => BTreeMap::new(),
    };
    let mut planned = Vec::new();
    for name in partitions {
        let shown = format!("{}-{}", name.0, name.1);
        let bound = |offsets: &BTreeMap<PartitionName, Option<i64>>| {
            offsets
                .get(name)
                .copied()
                .flatten()
                .ok_or_else(|| format!("{shown}: its leader does not say where its log is"))
        };
        let known = Known {
            current: current.get(name).map(|committed| committed.offset),
            start: bound(&starts)?,
            end: bound(&ends)?,
            at_timestamp: at_timestamp.get(name).copied().flatten(),
        };
        let (new, note) = plan(targets.of_partition(name), &known).map_err(|NothingToShift| {
            format!("{shown}: group '{group}' has committed nothing there that could be shifted")
        })?;
        told.notes.extend(note.map(|note| format!("{shown}: {}", note.text(&known))));
        planned.push(Planned { name: name.clone(), current: known.current, new, log_end: known.end });
    }
    Ok(planned)
}

async fn offsets(
    client: &Client,
    partitions: &BTreeSet<PartitionName>,
    at: At,
) -> Result<BTreeMap<PartitionName, Option<i64>>, String> {
    let offsets = client.offsets(partitions, at).await.map_err(|error| error.to_string())?;
    let known = offsets.into_iter().map(|(name, offset)| match offset {
        Ok(offset) => Ok((name, offset)),
        Err(error) => Err(format!("{}-{}: {error}", name.0, name.1)),
    });
    known.collect()
}

/// Those that were not set, with why.
async fn execute(
    client: &Client,
    group: &str,
    planned: &[Planned],
) -> Result<BTreeMap<PartitionName, ResponseError>, String> {
    let offsets: BTreeMap<PartitionName, i64> = planned.iter().map(|one| (one.name.clone(), one.new)).collect();
    let mut outcomes = committed::commit(client, group, &offsets).await.map_err(|error| of_group(group, &error))?;
    let mut failed = BTreeMap::new();
    for name in offsets.into_keys() {
        match outcomes.remove(&name) {
            Some(None) => {}
            Some(Some(ResponseError::UnknownMemberId | ResponseError::RebalanceInProgress)) => {
                return Err(format!(
                    "group '{group}' got members meanwhile, nothing was reset; stop them and try again"
                ));
            }
            Some(Some(error)) => drop(failed.insert(name, error)),
            None => drop(failed.insert(name, ResponseError::UnknownServerError)),
        }
    }
    Ok(failed)
}

fn to_text(group: &str, planned: &[&Planned]) -> String {
    let columns = [
        words("GROUP"),
        words("TOPIC"),
        numbers("PARTITION"),
        numbers("CURRENT-OFFSET"),
        numbers("NEW-OFFSET"),
        numbers("LOG-END-OFFSET"),
        numbers("NEW-LAG"),
    ];
    let rows = planned.iter().map(|one| {
        vec![
            group.to_owned(),
            one.name.0.clone(),
            one.name.1.to_string(),
            known(one.current),
            one.new.to_string(),
            one.log_end.to_string(),
            one.log_end.saturating_sub(one.new).to_string(),
        ]
    });
    Table::new(columns, rows).text()
}

fn csv(planned: &[&Planned]) -> String {
    planned.iter().map(|one| format!("{},{},{}\n", one.name.0, one.name.1, one.new)).collect()
}

fn to_json(group: &str, executed: bool, planned: &[&Planned]) -> String {
    let offsets = planned.iter().map(|one| {
        json!({
            "topic": one.name.0,
            "partition": one.name.1,
            "current_offset": one.current,
            "new_offset": one.new,
            "log_end_offset": one.log_end,
        })
    });
    format!("{}\n", json!({ "group": group, "executed": executed, "offsets": offsets.collect::<Vec<_>>() }))
}
