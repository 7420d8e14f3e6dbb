//! `ringlog partition reassign` (AlterPartitionReassignments and ListPartitionReassignments, KIP-455).

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use kafka_protocol::messages::{
    AlterPartitionReassignmentsRequest, BrokerId, ListPartitionReassignmentsRequest, TopicName,
};
use protocol::ApiKey;
use serde_json::json;

use super::args::{BrokerNumber, ReassignArgs};
use crate::cli::kafka::{Client, ClientError, PartitionName, refused};
use crate::cli::progress::waiting;
use crate::cli::table::{Table, list, numbers, words};
use crate::cli::told::{Deeds, Failure, Told};

/// A partition that moves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Moving {
    name: PartitionName,
    replicas: Vec<i32>,
    adding: Vec<i32>,
    removing: Vec<i32>,
}

pub(super) async fn run(client: &Client, args: &ReassignArgs) -> Result<Told, Failure> {
    let named = args.topic.clone().zip(args.partition);
    if args.list {
        return print(client, args.json).await;
    }
    if args.cancel {
        return cancel(client, named, args.json).await;
    }
    let name = named.expect("the command line names what is moved");
    let target: Vec<i32> = args.to.iter().map(|BrokerNumber(id)| *id).collect();
    let mut outcome = alter(client, &[(name.clone(), Some(target.clone()))]).await?.remove(0).1;
    let mut moved = false;
    if outcome.is_ok() && !args.no_wait {
        let what = format!("moving {}-{}", name.0, name.1);
        outcome = waiting(&what, wait(client, &name)).await;
        moved = true;
    }
    let to = list(&target);
    let line = match moved {
        true => format!("{}-{} is on {to} now", name.0, name.1),
        false => {
            format!("{}-{} moves to {to}; `ringlog partition reassign --list` prints what is moving", name.0, name.1)
        }
    };
    let mut deeds = Deeds::new("partitions", args.json);
    let what = json!({ "topic": name.0, "partition": name.1, "replicas": target });
    deeds.add(what, outcome.map(|()| line));
    Ok(deeds.told())
}

/// Why each could not be done.
type Outcomes = Vec<(PartitionName, Result<(), String>)>;

/// `None` takes back what is moving.
async fn alter(client: &Client, wanted: &[(PartitionName, Option<Vec<i32>>)]) -> Result<Outcomes, Failure> {
    let topic = |((topic, partition), target): &(PartitionName, Option<Vec<i32>>)| {
        let replicas = target.as_ref().map(|target| target.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default().with_partition_index(*partition).with_replicas(replicas);
        ReassignableTopic::default().with_name(TopicName(topic.clone().into())).with_partitions(vec![partition])
    };
    let request = AlterPartitionReassignmentsRequest::default()
        .with_timeout_ms(client.patience_ms())
        .with_topics(wanted.iter().map(topic).collect());
    let (address, response) = client.call_any(&request).await?;
    if let Some(error) = ResponseError::try_from_code(response.error_code) {
        let (what, message) =
            ("the reassignment".to_owned(), response.error_message.map(|message| message.to_string()));
        let api = ApiKey::AlterPartitionReassignments;
        return Err(ClientError::RefusedOf { address, api, what, error, message }.into());
    }
    let mut outcomes = Outcomes::new();
    for ((topic, partition), _) in wanted {
        let told = response.responses.iter().filter(|told| *told.name.0 == **topic).flat_map(|told| &told.partitions);
        let told = told.into_iter().find(|told| told.partition_index == *partition);
        let outcome = match told.map(|told| (ResponseError::try_from_code(told.error_code), &told.error_message)) {
            Some((None, _)) => Ok(()),
            None => Err(format!("{topic}-{partition}: the broker says nothing of it")),
            Some((Some(error), message)) => Err(match error {
                ResponseError::UnknownTopicOrPartition if !client.has_topic(topic).await? => {
                    client.unknown_topic(topic).await
                }
                ResponseError::InvalidReplicaAssignment => format!(
                    "{topic}-{partition}: {}; `ringlog cluster brokers` prints the brokers that there are",
                    refused(error, message.as_deref())
                ),
                _ => format!("{topic}-{partition}: {}", refused(error, message.as_deref())),
            }),
        };
        outcomes.push(((topic.clone(), *partition), outcome));
    }
    Ok(outcomes)
}

async fn moving(client: &Client) -> Result<Vec<Moving>, ClientError> {
    let request = ListPartitionReassignmentsRequest::default().with_timeout_ms(client.patience_ms()).with_topics(None);
    let (address, response) = client.call_any(&request).await?;
    if let Some(error) = ResponseError::try_from_code(response.error_code) {
        return Err(ClientError::Refused { address, api: ApiKey::ListPartitionReassignments, error });
    }
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<_>>();
    let moving = response.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| Moving {
            name: (topic.name.0.to_string(), partition.partition_index),
            replicas: ids(&partition.replicas),
            adding: ids(&partition.adding_replicas),
            removing: ids(&partition.removing_replicas),
        })
    });
    let mut moving: Vec<Moving> = moving.collect();
    moving.sort();
    Ok(moving)
}

/// Until it does not move any more.
async fn wait(client: &Client, name: &PartitionName) -> Result<(), String> {
    loop {
        client.begin_step();
        let moving = moving(client).await.map_err(|error| error.to_string())?;
        if !moving.iter().any(|one| one.name == *name) {
            return Ok(());
        }
        if !client.may_retry().await {
            return Err(format!("{}-{} moves and goes on to, but --timeout leaves no time to wait", name.0, name.1));
        }
    }
}

async fn cancel(client: &Client, named: Option<PartitionName>, as_json: bool) -> Result<Told, Failure> {
    let names = match named {
        Some(name) => vec![name],
        None => moving(client).await?.into_iter().map(|one| one.name).collect(),
    };
    let mut deeds = Deeds::new("partitions", as_json);
    if names.is_empty() {
        deeds.note("nothing is moving".to_owned());
        return Ok(deeds.told());
    }
    let wanted: Vec<_> = names.into_iter().map(|name| (name, None)).collect();
    for ((topic, partition), outcome) in alter(client, &wanted).await? {
        let line = format!("{topic}-{partition} stays where it was");
        deeds.add(json!({ "topic": topic, "partition": partition }), outcome.map(|()| line));
    }
    Ok(deeds.told())
}

async fn print(client: &Client, as_json: bool) -> Result<Told, Failure> {
    let moving = moving(client).await?;
    if as_json {
        let partitions = moving.iter().map(|one| {
            json!({
                "topic": one.name.0,
                "partition": one.name.1,
                "replicas": one.replicas,
                "adding": one.adding,
                "removing": one.removing,
            })
        });
        return Ok(Told::json(&json!({ "partitions": partitions.collect::<Vec<_>>() })));
    }
    if moving.is_empty() {
        return Ok(Told { notes: vec!["nothing is moving".to_owned()], ..Told::default() });
    }
    let columns = [words("TOPIC"), numbers("PARTITION"), words("REPLICAS"), words("ADDING"), words("REMOVING")];
    let rows = moving.iter().map(|one| {
        vec![one.name.0.clone(), one.name.1.to_string(), list(&one.replicas), list(&one.adding), list(&one.removing)]
    });
    Ok(Told::text(Table::new(columns, rows).text()))
}
