//! `ringlog group list`: asks every broker, since each knows the groups that it coordinates.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ListGroupsRequest;
use protocol::ApiKey;
use serde_json::json;

use super::Told;
use super::args::GroupType;
use crate::cli::kafka::{Client, ClientError, Node, passes};
use crate::cli::table::{Table, known, numbers, words};

/// A group as its coordinator lists it. What the broker is too old to say is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Listed {
    pub group_type: String,
    pub protocol_type: String,
    pub state: String,
    pub coordinator: i32,
}

/// All groups, and what of the list is missing.
pub(super) async fn all(client: &Client) -> Result<(BTreeMap<String, Listed>, Vec<String>), String> {
    let brokers = client.brokers().await.map_err(|error| error.to_string())?;
    let asked = brokers.iter().map(|broker| async move { (broker, of_broker(client, broker).await) });
    let (mut groups, mut problems) = (BTreeMap::new(), Vec::new());
    for (broker, listed) in join_all(asked).await {
        match listed {
            Ok(listed) => groups.extend(listed),
            Err(error) => problems.push(format!("the groups of broker {} are missing: {error}", broker.id)),
        }
    }
    Ok((groups, problems))
}

async fn of_broker(client: &Client, broker: &Node) -> Result<Vec<(String, Listed)>, ClientError> {
    loop {
        let response = client.call(broker, &ListGroupsRequest::default()).await?;
        if let Some(error) = ResponseError::try_from_code(response.error_code) {
            if passes(error) && client.may_retry().await {
                continue;
            }
            let address = format!("{}:{}", broker.host, broker.port);
            return Err(ClientError::Refused { address, api: ApiKey::ListGroups, error });
        }
        let groups = response.groups.into_iter().map(|group| {
            let listed = Listed {
                group_type: capitalised(&group.group_type),
                protocol_type: group.protocol_type.to_string(),
                state: group.group_state.to_string(),
                coordinator: broker.id,
            };
            (group.group_id.0.to_string(), listed)
        });
        return Ok(groups.collect());
    }
}

/// As Kafka's tools show it: brokers say `classic`.
fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

pub(super) async fn run(
    client: &Client,
    states: &[String],
    group_type: Option<GroupType>,
    as_json: bool,
) -> Result<Told, String> {
    let (mut groups, problems) = all(client).await?;
    groups.retain(|_, listed| is_wanted(listed, states, group_type));
    let text = if as_json { to_json(&groups) } else { to_text(&groups) };
    Ok(Told { text, notes: Vec::new(), problems })
}

fn is_wanted(listed: &Listed, states: &[String], group_type: Option<GroupType>) -> bool {
    let type_name = group_type.map(|group_type| match group_type {
        GroupType::Classic => "classic",
        GroupType::Consumer => "consumer",
    });
    (states.is_empty() || states.iter().any(|state| state.eq_ignore_ascii_case(&listed.state)))
        && type_name.is_none_or(|name| listed.group_type.eq_ignore_ascii_case(name))
}

fn to_text(groups: &BTreeMap<String, Listed>) -> String {
    let columns = [words("GROUP"), words("TYPE"), words("PROTOCOL"), words("STATE"), numbers("COORDINATOR")];
    let rows = groups.iter().map(|(group, listed)| {
        vec![
            known(Some(group)),
            known(Some(&listed.group_type)),
            known(Some(&listed.protocol_type)),
            known(Some(&listed.state)),
            listed.coordinator.to_string(),
        ]
    });
    Table::new(columns, rows).text()
}

fn to_json(groups: &BTreeMap<String, Listed>) -> String {
    let groups = groups.iter().map(|(group, listed)| {
        json!({
            "group": group,
            "type": listed.group_type,
            "protocol": listed.protocol_type,
            "state": listed.state,
            "coordinator": listed.coordinator,
        })
    });
    format!("{}\n", json!({ "groups": groups.collect::<Vec<_>>() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_wanted_by_state_and_type_in_whatever_case() {
        let listed = |group_type: &str, state: &str| Listed {
            group_type: group_type.to_owned(),
            state: state.to_owned(),
            ..Listed::default()
        };
        let states = |states: &[&str]| states.iter().map(|&state| state.to_owned()).collect::<Vec<_>>();
        let stable = listed("classic", "Stable");
        assert!(is_wanted(&stable, &[], None));
        assert!(is_wanted(&stable, &states(&["empty", "stable"]), Some(GroupType::Classic)));
        assert!(!is_wanted(&stable, &states(&["empty"]), None));
        assert!(!is_wanted(&stable, &[], Some(GroupType::Consumer)));
        assert!(is_wanted(&listed("Consumer", "Assigning"), &[], Some(GroupType::Consumer)));
    }

    #[test]
    fn what_a_group_lacks_is_a_dash() {
        let listed = Listed { group_type: "Classic".to_owned(), coordinator: 2, ..Listed::default() };
        let groups = BTreeMap::from([("g".to_owned(), listed)]);
        assert_eq!(
            to_text(&groups),
            "GROUP  TYPE     PROTOCOL  STATE  COORDINATOR\n\
             g      Classic  -         -                2\n"
        );
    }
}
