//! `ringlog cluster brokers`: brokers as Kafka clients know them, with what each has (DescribeCluster, Metadata and
//! DescribeLogDirs).

use std::collections::BTreeMap;

use futures_util::future::join_all;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, DescribeLogDirsRequest, MetadataResponse,
};
use protocol::ApiKey;
use serde_json::{Value, json};

use crate::cli::kafka::{Client, ClientError, Node, refused};
use crate::cli::size::size;
use crate::cli::table::{Table, known, numbers, words};
use crate::cli::told::{Failure, Told};

/// Asks for brokers, not controllers.
const BROKERS: i8 = 1;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Broker {
    id: i32,
    address: String,
    rack: Option<String>,
    is_fenced: bool,
    replicas: usize,
    leaders: usize,
    disk: Option<Disk>,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Disk {
    logs: u64,
    /// Of the file system: brokers before Kafka 3.3 do not say.
    total: Option<u64>,
    usable: Option<u64>,
}

pub(super) async fn run(client: &Client, as_json: bool) -> Result<Told, Failure> {
    let response = describe_cluster(client).await?;
    let (_, metadata) = client.metadata_of_all().await?;
    let mut brokers: Vec<Broker> = response
        .brokers
        .iter()
        .map(|broker| Broker {
            id: broker.broker_id.0,
            address: format!("{}:{}", broker.host, broker.port),
            rack: broker.rack.as_ref().map(ToString::to_string),
            is_fenced: broker.is_fenced,
            ..Broker::default()
        })
        .collect();
    brokers.sort_by_key(|broker| broker.id);
    count(&mut brokers, &metadata);
    let nodes = response.brokers.iter().filter(|broker| !broker.is_fenced);
    let nodes: Vec<Node> =
        nodes.filter_map(|broker| Node::new(broker.broker_id.0, &broker.host, broker.port)).collect();
    let asked = nodes.iter().map(|node| async move { (node.id, disk(client, node).await) });
    let mut problems = Vec::new();
    for (id, disk) in join_all(asked).await {
        match disk {
            Ok(disk) => brokers.iter_mut().filter(|broker| broker.id == id).for_each(|broker| broker.disk = Some(disk)),
            Err(why) => problems.push(format!("the disk of broker {id} is not known: {why}")),
        }
    }
    let told = match as_json {
        true => Told::json(&to_json(&response.cluster_id, &brokers)),
        false => Told::text(to_text(&brokers)),
    };
    Ok(Told { problems, ..told })
}

async fn describe_cluster(client: &Client) -> Result<DescribeClusterResponse, ClientError> {
    let with_fenced = DescribeClusterRequest::default().with_endpoint_type(BROKERS).with_include_fenced_brokers(true);
    let (address, response) = match client.call_any(&with_fenced).await {
        // Only version 2 (Kafka 4.0) can be asked for those that are fenced.
        Err(ClientError::Unwritable { .. }) => {
            client.call_any(&DescribeClusterRequest::default().with_endpoint_type(BROKERS)).await?
        }
        outcome => outcome?,
    };
    match ResponseError::try_from_code(response.error_code) {
        None => Ok(response),
        Some(error) => Err(ClientError::Refused { address, api: ApiKey::DescribeCluster, error }),
    }
}

/// What each has of the partitions.
fn count(brokers: &mut [Broker], metadata: &MetadataResponse) {
    let mut counts: BTreeMap<i32, (usize, usize)> = BTreeMap::new();
    for partition in metadata.topics.iter().flat_map(|topic| &topic.partitions) {
        for replica in &partition.replica_nodes {
            counts.entry(replica.0).or_default().0 += 1;
        }
        counts.entry(partition.leader_id.0).or_default().1 += 1;
    }
    for broker in brokers {
        (broker.replicas, broker.leaders) = counts.get(&broker.id).copied().unwrap_or_default();
    }
}

async fn disk(client: &Client, node: &Node) -> Result<Disk, String> {
    let request = DescribeLogDirsRequest::default().with_topics(None);
    let response = client.call(node, &request).await.map_err(|error| error.to_string())?;
    if let Some(error) = ResponseError::try_from_code(response.error_code) {
        return Err(refused(error, None));
    }
    let mut disk = Disk::default();
    for directory in response.results {
        if let Some(error) = ResponseError::try_from_code(directory.error_code) {
            return Err(format!("{}: {}", directory.log_dir, refused(error, None)));
        }
        let partitions = directory.topics.iter().flat_map(|topic| &topic.partitions);
        let logs: u64 = partitions.map(|partition| u64::try_from(partition.partition_size).unwrap_or(0)).sum();
        disk.logs = disk.logs.saturating_add(logs);
        let add = |sum: Option<u64>, bytes: i64| match u64::try_from(bytes) {
            Ok(bytes) => Some(sum.unwrap_or(0).saturating_add(bytes)),
            Err(_) => sum,
        };
        disk.total = add(disk.total, directory.total_bytes);
        disk.usable = add(disk.usable, directory.usable_bytes);
    }
    Ok(disk)
}

fn state(broker: &Broker) -> &'static str {
    if broker.is_fenced { "fenced" } else { "alive" }
}

fn to_text(brokers: &[Broker]) -> String {
    let columns = [
        numbers("BROKER"),
        words("STATE"),
        words("ADDRESS"),
        words("RACK"),
        numbers("REPLICAS"),
        numbers("LEADS"),
        numbers("LOGS"),
        numbers("DISK FREE"),
        numbers("DISK"),
    ];
    let rows = brokers.iter().map(|broker| {
        vec![
            broker.id.to_string(),
            state(broker).to_owned(),
            broker.address.clone(),
            known(broker.rack.as_ref()),
            broker.replicas.to_string(),
            broker.leaders.to_string(),
            known(broker.disk.map(|disk| size(disk.logs))),
            known(broker.disk.and_then(|disk| disk.usable).map(size)),
            known(broker.disk.and_then(|disk| disk.total).map(size)),
        ]
    });
    Table::new(columns, rows).text()
}

fn to_json(cluster_id: &str, brokers: &[Broker]) -> Value {
    let brokers = brokers.iter().map(|broker| {
        json!({
            "broker": broker.id,
            "state": state(broker),
            "address": broker.address,
            "rack": broker.rack,
            "replicas": broker.replicas,
            "leads": broker.leaders,
            "log_bytes": broker.disk.map(|disk| disk.logs),
            "disk_usable_bytes": broker.disk.and_then(|disk| disk.usable),
            "disk_total_bytes": broker.disk.and_then(|disk| disk.total),
        })
    });
    json!({ "cluster_id": cluster_id, "brokers": brokers.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_of_a_broker_is_a_dash() {
        let disk = Disk { logs: 3 << 19, total: Some(1 << 40), usable: None };
        let alive = Broker {
            id: 1,
            address: "h:9092".to_owned(),
            rack: Some("a".to_owned()),
            replicas: 12,
            leaders: 4,
            disk: Some(disk),
            ..Broker::default()
        };
        let fenced = Broker { id: 20, address: "i:9092".to_owned(), is_fenced: true, ..Broker::default() };
        assert_eq!(
            to_text(&[alive, fenced]),
            "BROKER  STATE   ADDRESS  RACK  REPLICAS  LEADS     LOGS  DISK FREE   DISK\n     \
                  1  alive   h:9092   a           12      4  1.5 MiB          -  1 TiB\n    \
                 20  fenced  i:9092   -            0      0        -          -      -\n"
        );
    }
}
