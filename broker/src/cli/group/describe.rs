//! `ringlog group describe`.

use std::collections::BTreeSet;

use super::args::DescribeArgs;
use super::lines::{LogEnds, Shown, members_text, note, offsets_text, state_text, to_json};
use super::{Told, committed, described, list, of_group};
use crate::cli::kafka::{At, Client, PartitionName};

pub(super) async fn run(client: &Client, args: &DescribeArgs) -> Result<Told, String> {
    let mut told = Told::default();
    let mut names = args.groups.clone();
    if args.all {
        let (groups, problems) = list::all(client).await?;
        told.problems = problems;
        names = groups.into_keys().collect();
    }
    let described = described::describe(client, &names).await;
    let mut groups = Vec::new();
    for (name, group) in described {
        match group {
            Ok(group) => groups.push(Shown { name, group, offsets: committed::Offsets::new() }),
            Err(error) => told.problems.push(of_group(&name, &error)),
        }
    }
    let mut ends = LogEnds::new();
    if args.json || !args.members && !args.state {
        fetch_offsets(client, &mut groups, &mut told).await;
        ends = log_ends(client, &groups, &mut told).await?;
    }
    told.text = match args {
        DescribeArgs { json: true, .. } => to_json(&groups, &ends),
        // Nothing is known of any: the errors say it all.
        _ if groups.is_empty() && !told.problems.is_empty() => String::new(),
        DescribeArgs { members: true, .. } => members_text(&groups, args.verbose),
        DescribeArgs { state: true, .. } => state_text(&groups, args.verbose),
        _ => offsets_text(&groups, &ends, args.verbose),
    };
    if !args.json {
        told.notes.extend(groups.iter().filter_map(note));
    }
    Ok(told)
}

/// Groups whose offsets are not to be had are left out.
async fn fetch_offsets(client: &Client, groups: &mut Vec<Shown>, told: &mut Told) {
    let names: Vec<String> = groups.iter().map(|shown| shown.name.clone()).collect();
    let mut committed = committed::fetch(client, &names).await;
    groups.retain_mut(|shown| match committed.remove(&shown.name) {
        Some(Ok(offsets)) => {
            shown.offsets = offsets;
            true
        }
        Some(Err(error)) => {
            told.problems.push(of_group(&shown.name, &error));
            false
        }
        None => false,
    });
}

async fn log_ends(client: &Client, groups: &[Shown], told: &mut Told) -> Result<LogEnds, String> {
    let names: BTreeSet<PartitionName> = groups.iter().flat_map(Shown::partitions).collect();
    let offsets = client.offsets(&names, At::Latest).await.map_err(|error| error.to_string())?;
    let mut ends = LogEnds::new();
    for (name, end) in offsets {
        match end {
            Ok(Some(end)) => drop(ends.insert(name, end)),
            Ok(None) => {}
            Err(error) => {
                told.problems.push(format!("where the log of {}-{} ends is not known: {error}", name.0, name.1))
            }
        }
    }
    Ok(ends)
}
