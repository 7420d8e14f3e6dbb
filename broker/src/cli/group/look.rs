//! What the console shows of groups: what `ringlog group list` and `describe --json` tell, of some at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::{Value, json};

use super::lines::{Shown, group_json};
use super::list::Listed;
use super::{committed, described, list, of_group};
use crate::cli::kafka::{Client, ClientError};
use crate::config::HostPort;

/// Where partitions' logs end, by topic and partition, as far as it is known.
pub(crate) type LogEnds = BTreeMap<(String, i32), i64>;

/// Members, and offsets, of one group that are told at most.
const LINES_MAX: usize = 2000;

/// Which groups are wanted, in order of their ids.
#[derive(Clone, Debug, Default)]
pub(crate) struct Search {
    /// Part of the id, in whatever case.
    pub text: String,
    pub offset: usize,
    pub limit: usize,
}

/// Some of the groups, and how many match.
#[derive(Debug)]
pub(crate) struct Page {
    pub total: usize,
    pub looked: Looked,
}

/// Groups with their offsets.
#[derive(Debug, Default)]
pub(crate) struct Looked {
    listed: BTreeMap<String, Listed>,
    groups: BTreeMap<String, Shown>,
    problems: Vec<String>,
}

/// Asks all brokers for their groups, and coordinators for those of the page.
///
/// # Errors
/// If no broker answers.
pub(crate) async fn page(bootstrap: Vec<HostPort>, patience: Duration, search: Search) -> Result<Page, String> {
    let client = Client::new(bootstrap, patience);
    let (groups, problems) = list::all(&client).await?;
    let text = search.text.to_lowercase();
    let matching: Vec<_> = groups.into_iter().filter(|(group, _)| group.to_lowercase().contains(&text)).collect();
    let total = matching.len();
    let listed: BTreeMap<_, _> = matching.into_iter().skip(search.offset).take(search.limit).collect();
    let names: Vec<String> = listed.keys().cloned().collect();
    let mut looked = Looked { listed, problems, ..Looked::default() };
    looked.look_at(&client, &names).await;
    Ok(Page { total, looked })
}

/// Asks for one group; `None` if it does not exist.
///
/// # Errors
/// If its coordinator does not answer.
pub(crate) async fn one(bootstrap: Vec<HostPort>, patience: Duration, group: &str) -> Result<Option<Looked>, String> {
    let client = Client::new(bootstrap, patience);
    let mut looked = Looked::default();
    match looked.look_at(&client, &[group.to_owned()]).await {
        Some(error) if is_of_no_group(&error) => Ok(None),
        Some(error) => Err(error.to_string()),
        None => Ok(Some(looked)),
    }
}

fn is_of_no_group(error: &ClientError) -> bool {
    use kafka_protocol::ResponseError::{GroupIdNotFound, InvalidGroupId};
    matches!(error.refusal(), Some(GroupIdNotFound | InvalidGroupId))
}

impl Looked {
    /// The last error, if there was any.
    async fn look_at(&mut self, client: &Client, names: &[String]) -> Option<ClientError> {
        let mut last = None;
        let described = described::describe(client, names).await;
        let known: Vec<String> =
            described.iter().filter(|(_, group)| group.is_ok()).map(|(name, _)| name.clone()).collect();
        let mut offsets = committed::fetch(client, &known).await;
        for (name, group) in described {
            let looked = group.and_then(|group| {
                let offsets = offsets.remove(&name).unwrap_or_else(|| Ok(committed::Offsets::new()))?;
                Ok(Shown { name: name.clone(), group, offsets })
            });
            match looked {
                Ok(shown) => drop(self.groups.insert(name, shown)),
                Err(error) => {
                    // One that was listed and is gone was deleted meanwhile; others are of no type that is described.
                    if !is_of_no_group(&error) {
                        self.problems.push(of_group(&name, &error));
                    }
                    last = Some(error);
                }
            }
        }
        last
    }

    /// All partitions that are assigned or have an offset.
    pub(crate) fn partitions(&self) -> BTreeSet<(String, i32)> {
        self.groups.values().flat_map(Shown::partitions).collect()
    }

    /// What is missing.
    pub(crate) fn problems(&self) -> &[String] {
        &self.problems
    }

    /// A line per group.
    pub(crate) fn summaries(&self, ends: &LogEnds) -> Vec<Value> {
        self.listed.iter().map(|(name, listed)| summary(name, listed, self.groups.get(name), ends)).collect()
    }

    /// Everything about the only group, as `ringlog group describe --json` has it; null if there is none.
    pub(crate) fn details(&self, ends: &LogEnds) -> Value {
        let Some(shown) = self.groups.values().next() else { return Value::Null };
        let mut group = group_json(shown, ends);
        for list in ["members", "offsets"] {
            let lines = group[list].as_array_mut().map_or(0, |lines| {
                let all = lines.len();
                lines.truncate(LINES_MAX);
                all
            });
            group[format!("{list}_total")] = json!(lines);
        }
        group
    }
}

fn summary(name: &str, listed: &Listed, shown: Option<&Shown>, ends: &LogEnds) -> Value {
    let (mut lag, mut unknown) = (0_i64, 0_usize);
    let offsets = shown.map(|shown| &shown.offsets);
    for (partition, committed) in offsets.into_iter().flatten() {
        match ends.get(partition) {
            Some(end) => lag = lag.saturating_add(end.saturating_sub(committed.offset).max(0)),
            None => unknown += 1,
        }
    }
    let description = shown.map(|shown| &shown.group.description);
    json!({
        "group": name,
        "type": listed.group_type,
        "protocol": listed.protocol_type,
        "state": description.map_or(&listed.state, |description| &description.state),
        "coordinator": listed.coordinator,
        "members": description.map(|description| description.members.len()),
        "partitions": offsets.map(BTreeMap::len),
        "lag": offsets.map(|_| lag),
        "lag_unknown_partitions": unknown,
    })
}

#[cfg(test)]
mod tests {
    use super::super::committed::Committed;
    use super::super::described::{Description, Group};
    use super::*;
    use crate::cli::kafka::Node;

    fn looked(offsets: usize) -> Looked {
        let description = Description {
            group_type: "Classic",
            protocol_type: "consumer".to_owned(),
            state: "Empty".to_owned(),
            assignor: String::new(),
            epochs: None,
            members: Vec::new(),
        };
        let coordinator = Node { id: 2, host: "h".to_owned(), port: 1 };
        let committed = |n: usize| (("t".to_owned(), n as i32), Committed { offset: 5, leader_epoch: None });
        let group = Group { coordinator, description };
        let shown = Shown { name: "g".to_owned(), group, offsets: (0..offsets).map(committed).collect() };
        let listed = Listed { coordinator: 2, ..Listed::default() };
        Looked {
            listed: BTreeMap::from([("g".to_owned(), listed.clone()), ("other".to_owned(), listed)]),
            groups: BTreeMap::from([("g".to_owned(), shown)]),
            problems: Vec::new(),
        }
    }

    #[test]
    fn lag_is_summed_over_what_is_known_and_a_log_that_was_cut_off_counts_for_nothing() {
        let ends = LogEnds::from([(("t".to_owned(), 0), 12), (("t".to_owned(), 1), 3)]);
        let summaries = looked(3).summaries(&ends);
        assert_eq!((&summaries[0]["lag"], &summaries[0]["lag_unknown_partitions"]), (&json!(7), &json!(1)));
        assert_eq!((&summaries[1]["lag"], &summaries[1]["members"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn a_group_of_very_many_partitions_is_told_in_part_and_counted_whole() {
        let group = looked(LINES_MAX + 1).details(&LogEnds::new());
        assert_eq!(group["offsets"].as_array().unwrap().len(), LINES_MAX);
        assert_eq!(group["offsets_total"], json!(LINES_MAX + 1));
    }
}
