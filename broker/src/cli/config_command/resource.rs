//! What has configs, and its configs as brokers describe them (DescribeConfigs).

use std::collections::BTreeMap;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::DescribeConfigsResult;
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::Request;
use metadata::config::{Scope, definition};

use crate::cli::kafka::{Client, ClientError, refused};
use crate::config::nearest;

/// Resources that one request names.
const RESOURCES_MAX: usize = 500;
/// What is shown in place of a value that the broker does not tell.
const SENSITIVE: &str = "(sensitive)";

/// Resource types of the Kafka protocol.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;

/// Kafka's names of where a value comes from, by their codes.
const SOURCES: [&str; 9] = [
    "UNKNOWN",
    "DYNAMIC_TOPIC_CONFIG",
    "DYNAMIC_BROKER_CONFIG",
    "DYNAMIC_DEFAULT_BROKER_CONFIG",
    "STATIC_BROKER_CONFIG",
    "DEFAULT_CONFIG",
    "DYNAMIC_BROKER_LOGGER_CONFIG",
    "DYNAMIC_CLIENT_METRICS_CONFIG",
    "DYNAMIC_GROUP_CONFIG",
];
const DEFAULT_SOURCE: i8 = 5;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::cli) struct Resource {
    pub kind: i8,
    /// Empty for what all brokers have.
    pub name: String,
}

impl Resource {
    pub fn topic(name: &str) -> Resource {
        Resource { kind: TOPIC, name: name.to_owned() }
    }

    pub fn group(name: &str) -> Resource {
        Resource { kind: GROUP, name: name.to_owned() }
    }

    /// `None` for what all brokers have.
    pub fn broker(id: Option<i32>) -> Resource {
        Resource { kind: BROKER, name: id.map_or(String::new(), |id| id.to_string()) }
    }

    /// Its levels of logging, which last until it ends.
    pub fn broker_logger(id: i32) -> Resource {
        Resource { kind: BROKER_LOGGER, name: id.to_string() }
    }

    pub fn is_topic(&self) -> bool {
        self.kind == TOPIC
    }

    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            TOPIC => "topic",
            BROKER => "broker",
            BROKER_LOGGER => "broker_logger",
            _ => "group",
        }
    }

    /// How the command line names it.
    fn flag(&self) -> String {
        format!("--{} {}", self.kind_name().replace('_', "-"), self.shown_name())
    }

    /// As `--broker` and the others have it.
    pub fn shown_name(&self) -> &str {
        if self.name.is_empty() { "default" } else { &self.name }
    }

    /// What a broker has can be asked of that broker only.
    async fn ask<R: Request>(&self, client: &Client, request: &R) -> Result<R::Response, String> {
        let id = match (self.kind, self.name.parse::<i32>()) {
            (BROKER | BROKER_LOGGER, Ok(id)) => id,
            _ => {
                return client.call_any(request).await.map(|(_, response)| response).map_err(|error| error.to_string());
            }
        };
        let brokers = client.brokers().await.map_err(|error| error.to_string())?;
        match brokers.iter().find(|broker| broker.id == id) {
            Some(broker) => client.call(broker, request).await.map_err(|error| error.to_string()),
            None => {
                let ids: Vec<String> = brokers.iter().map(|broker| broker.id.to_string()).collect();
                Err(format!("there is no broker {id} now: those that are there are {}", ids.join(", ")))
            }
        }
    }
}

/// `topic 'orders'`, `broker 1`, `all brokers`.
impl std::fmt::Display for Resource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.kind, self.name.as_str()) {
            (BROKER, "") => f.write_str("all brokers"),
            (BROKER, id) => write!(f, "broker {id}"),
            (BROKER_LOGGER, id) => write!(f, "loggers of broker {id}"),
            (_, name) => write!(f, "{} '{name}'", self.kind_name()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Described {
    pub name: String,
    pub value: Option<String>,
    pub source_code: i8,
    pub is_read_only: bool,
    pub is_sensitive: bool,
    /// What it has where nothing is set.
    pub default: Option<String>,
    pub documentation: Option<String>,
}

impl Described {
    pub fn is_default(&self) -> bool {
        self.source_code == DEFAULT_SOURCE
    }

    pub fn source(&self) -> &'static str {
        usize::try_from(self.source_code).ok().and_then(|code| SOURCES.get(code)).copied().unwrap_or(SOURCES[0])
    }

    pub fn shown_value(&self) -> &str {
        match &self.value {
            None if self.is_sensitive => SENSITIVE,
            value => value.as_deref().unwrap_or_default(),
        }
    }
}

/// The configs of each of these, in their order, each in order of its names; only `names`, if given.
pub(in crate::cli) async fn described_all(
    client: &Client,
    resources: &[Resource],
    names: Option<&[String]>,
    with_documentation: bool,
) -> Result<Vec<Result<Vec<Described>, String>>, ClientError> {
    let mut all = Vec::new();
    for resources in resources.chunks(RESOURCES_MAX) {
        let (_, response) = client.call_any(&request(resources, names, with_documentation)).await?;
        all.extend(taken_apart(resources, response));
    }
    Ok(all)
}

/// As [`described_all`], of one, wherever it has to be asked for.
pub(in crate::cli) async fn described(
    client: &Client,
    resource: &Resource,
    names: Option<&[String]>,
    with_documentation: bool,
) -> Result<Vec<Described>, String> {
    let resources = std::slice::from_ref(resource);
    let response = resource.ask(client, &request(resources, names, with_documentation)).await?;
    match taken_apart(resources, response).pop().expect("one per resource") {
        // Not every broker says that a topic's configs are nobody's.
        Err(_) if resource.is_topic() && !client.has_topic(&resource.name).await? => {
            Err(client.unknown_topic(&resource.name).await)
        }
        outcome => outcome.map_err(|why| format!("{resource}: {why}")),
    }
}

pub(super) async fn ask<R: Request>(client: &Client, resource: &Resource, request: &R) -> Result<R::Response, String> {
    resource.ask(client, request).await
}

fn request(resources: &[Resource], names: Option<&[String]>, with_documentation: bool) -> DescribeConfigsRequest {
    let names = names.map(|names| names.iter().map(|name| name.clone().into()).collect::<Vec<_>>());
    let resource = |resource: &Resource| {
        DescribeConfigsResource::default()
            .with_resource_type(resource.kind)
            .with_resource_name(resource.name.clone().into())
            .with_configuration_keys(names.clone())
    };
    DescribeConfigsRequest::default()
        .with_resources(resources.iter().map(resource).collect())
        .with_include_synonyms(true)
        .with_include_documentation(with_documentation)
}

fn taken_apart(resources: &[Resource], response: DescribeConfigsResponse) -> Vec<Result<Vec<Described>, String>> {
    let mut told: BTreeMap<(i8, String), DescribeConfigsResult> = response
        .results
        .into_iter()
        .map(|result| ((result.resource_type, result.resource_name.to_string()), result))
        .collect();
    let of_resource = |resource: &Resource| {
        let Some(result) = told.remove(&(resource.kind, resource.name.clone())) else {
            return Err("the broker says nothing of it".to_owned());
        };
        match ResponseError::try_from_code(result.error_code) {
            Some(error) => Err(refused(error, result.error_message.as_deref())),
            None => Ok(configs_of(result)),
        }
    };
    resources.iter().map(of_resource).collect()
}

fn configs_of(result: DescribeConfigsResult) -> Vec<Described> {
    let configs = result.configs.into_iter().map(|config| {
        let default = config.synonyms.iter().find(|synonym| synonym.source == DEFAULT_SOURCE);
        Described {
            name: config.name.to_string(),
            value: config.value.as_ref().map(ToString::to_string),
            source_code: config.config_source,
            is_read_only: config.read_only,
            is_sensitive: config.is_sensitive,
            default: match default {
                Some(synonym) => synonym.value.as_ref().map(ToString::to_string),
                None if config.config_source == DEFAULT_SOURCE => config.value.as_ref().map(ToString::to_string),
                None => None,
            },
            documentation: config.documentation.map(|text| text.to_string()).filter(|text| !text.is_empty()),
        }
    });
    let mut configs: Vec<Described> = configs.collect();
    configs.sort_by(|a, b| a.name.cmp(&b.name));
    configs
}

/// Of topics that do not exist yet: by the names that this program knows.
pub(in crate::cli) fn nearest_topic_config<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let known = metadata::config::topic_configs().iter().map(|definition| Known::changeable(definition.name));
    advice(&Resource::topic("TOPIC"), &known.collect::<Vec<_>>(), names)
}

/// What was to be done with configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Deed {
    Describe,
    Change,
}

/// What to do about those of `names` that a resource like this one does not have, or that do not change while a broker runs:
/// `; there is no config 'retention': did you mean retention.ms?`. Empty if neither is so, or it cannot be found out.
pub(in crate::cli) async fn advice_on<'a>(
    client: &Client,
    resource: &Resource,
    names: impl Iterator<Item = &'a str>,
    deed: Deed,
) -> String {
    let mut example = resource.clone();
    if resource.kind == BROKER && resource.name.is_empty() {
        // All brokers together tell only what is set for all.
        let Ok(brokers) = client.brokers().await else { return String::new() };
        example = Resource::broker(brokers.first().map(|broker| broker.id));
    }
    let Ok(known) = described(client, &example, None, false).await else { return String::new() };
    let known = known
        .iter()
        .map(|config| Known { name: &config.name, is_read_only: config.is_read_only && deed == Deed::Change });
    advice(&example, &known.collect::<Vec<_>>(), names)
}

/// A config that there is.
#[derive(Clone, Copy, Debug)]
struct Known<'a> {
    name: &'a str,
    is_read_only: bool,
}

impl<'a> Known<'a> {
    fn changeable(name: &'a str) -> Known<'a> {
        Known { name, is_read_only: false }
    }
}

fn advice<'a>(resource: &Resource, known: &[Known<'_>], names: impl Iterator<Item = &'a str>) -> String {
    let what = if resource.kind == BROKER_LOGGER { "logger" } else { "config" };
    let mut advice = String::new();
    for name in names {
        match known.iter().find(|known| known.name == name) {
            Some(known) if known.is_read_only => advice.push_str(&read_only(name)),
            Some(_) => {}
            None => advice.push_str(&match nearest(name, known.iter().map(|known| known.name)) {
                Some(near) => format!("; there is no {what} '{name}': did you mean {near}?"),
                None => format!(
                    "; there is no {what} '{name}': `ringlog config describe {} --all` prints those that there are",
                    resource.flag()
                ),
            }),
        }
    }
    advice
}

/// Where a setting is given that does not change while a broker runs.
fn read_only(name: &str) -> String {
    let place = match definition(Scope::Broker, name).and_then(|definition| definition.flag) {
        Some(flag) => format!("Ringlog's is {flag}"),
        None => "Ringlog's has a table [kafka], and --set".to_owned(),
    };
    format!("; a broker reads {name} when it starts: set it in its configuration file ({place}), and start it again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_no_configs_are_advised_on() {
        let known = ["retention.ms", "retention.bytes", "cleanup.policy"].map(Known::changeable);
        let of = |names: &[&'static str]| advice(&Resource::topic("t"), &known, names.iter().copied());
        assert_eq!(of(&["retention.ms"]), "");
        assert_eq!(
            of(&["cleanup.policy", "retention_ms"]),
            "; there is no config 'retention_ms': did you mean retention.ms?"
        );
        assert!(of(&["xyz"]).contains("`ringlog config describe --topic t --all`"));
        let loggers = ["ringlog::wal"].map(Known::changeable);
        assert_eq!(
            advice(&Resource::broker_logger(1), &loggers, ["xyz"].into_iter()),
            "; there is no logger 'xyz': `ringlog config describe --broker-logger 1 --all` prints those that there are"
        );
    }

    #[test]
    fn what_is_read_at_the_start_is_said_to_be_set_for_the_next_one() {
        let known = ["log.dirs", "num.network.threads"].map(|name| Known { name, is_read_only: true });
        let of = |name: &'static str| advice(&Resource::broker(Some(1)), &known, [name].into_iter());
        let (dirs, threads) = (of("log.dirs"), of("num.network.threads"));
        assert!(dirs.contains("Ringlog's is --data-dir") && dirs.ends_with("start it again"), "{dirs}");
        assert!(threads.contains("a table [kafka], and --set"), "{threads}");
    }

    #[test]
    fn every_source_has_kafkas_name() {
        let of = |source_code| Described {
            name: String::new(),
            value: None,
            source_code,
            is_read_only: false,
            is_sensitive: true,
            default: None,
            documentation: None,
        };
        assert_eq!(of(1).source(), "DYNAMIC_TOPIC_CONFIG");
        assert_eq!(of(8).source(), "DYNAMIC_GROUP_CONFIG");
        assert_eq!((of(5).is_default(), of(99).source(), of(-1).source()), (true, "UNKNOWN", "UNKNOWN"));
        assert_eq!(of(1).shown_value(), "(sensitive)");
    }
}
