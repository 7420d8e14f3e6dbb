//! Real Kafka: KRaft nodes, broker and controller in one, as its own scripts start them, and its tools.
//!
//! JVM flags are those of `kafka-server-start.sh` and of the perf tools' scripts. Broker settings are the defaults but for
//! what a node on this machine, alone or one of several, needs, and a group's first rebalance without its wait of 3 s, which would only add a constant to
//! the consumers' time on one side.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{fs, io};

use crate::interrupt::Interrupt;
use crate::jars::Jars;
use crate::member::{Member, Place};
use crate::process::{ProcessError, run_tool};

const LOGGING: &str = include_str!("../kafka/log4j2.properties");
const BROKER_HEAP: [&str; 2] = ["-Xmx1G", "-Xms1G"];
const TOOL_HEAP: [&str; 1] = ["-Xmx512M"];
const JVM_FLAGS: [&str; 6] = [
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
    "-Djava.awt.headless=true",
];
/// Any will do; a fixed one keeps runs alike.
const CLUSTER_ID: &str = "cmluZ2xvZy1iZW5jaC0wMQ";
const FORMAT_TIME_MAX: Duration = Duration::from_secs(120);

/// Why Kafka could not be made ready to start.
#[derive(Debug, thiserror::Error)]
pub enum KafkaError {
    #[error("{path}: {action} failed: {source}")]
    Io { path: PathBuf, action: &'static str, source: io::Error },
    #[error("Kafka's storage cannot be formatted: {0}")]
    Format(ProcessError),
}

/// A Kafka broker's directory, formatted.
#[derive(Clone, Debug)]
pub struct KafkaNode {
    properties: PathBuf,
    logging: PathBuf,
}

impl KafkaNode {
    /// Writes the configuration into `dir` and formats the storage below it. `settings` are broker settings by name.
    pub fn prepare(
        jars: &Jars,
        dir: &Path,
        member: &Member,
        settings: &[(&str, &str)],
        interrupt: &Interrupt,
    ) -> Result<KafkaNode, KafkaError> {
        let write = |name: &str, text: &str| -> Result<PathBuf, KafkaError> {
            let path = dir.join(name);
            let written = fs::write(&path, text);
            written.map_err(|source| KafkaError::Io { path: path.clone(), action: "writing", source })?;
            Ok(path)
        };
        let logging = write("log4j2.properties", LOGGING)?;
        let properties = write("server.properties", &properties(dir, member, settings))?;
        let node = KafkaNode { properties, logging };
        let mut format = java(jars, &node.logging, &TOOL_HEAP, "kafka.tools.StorageTool");
        format.args(["format", "-t", CLUSTER_ID, "-c"]).arg(&node.properties);
        run_tool("kafka-storage", format, &dir.join("format.log"), FORMAT_TIME_MAX, interrupt)
            .map_err(KafkaError::Format)?;
        Ok(node)
    }

    /// The command that runs the broker.
    #[must_use]
    pub fn command(&self, jars: &Jars) -> Command {
        let mut command = java(jars, &self.logging, &BROKER_HEAP, "kafka.Kafka");
        command.arg(&self.properties);
        command
    }
}

/// The command that runs one of Kafka's tools, by its class; `dir` takes its logging configuration.
pub fn tool(jars: &Jars, dir: &Path, class: &str) -> Result<Command, KafkaError> {
    let logging = dir.join("log4j2.properties");
    fs::write(&logging, LOGGING).map_err(|source| KafkaError::Io {
        path: logging.clone(),
        action: "writing",
        source,
    })?;
    Ok(java(jars, &logging, &TOOL_HEAP, class))
}

fn java(jars: &Jars, logging: &Path, heap: &[&str], class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(heap).args(JVM_FLAGS);
    command.arg(format!("-Dlog4j2.configurationFile={}", logging.display()));
    command.args(["-cp", &jars.class_path(), class]);
    command
}

fn properties(dir: &Path, member: &Member, settings: &[(&str, &str)]) -> String {
    let Place { clients: broker, internal: controller, .. } = member.place();
    let voters: Vec<_> = member.everyone().map(|(id, place)| format!("{id}@{}", place.internal)).collect();
    let factor = member.replication_factor;
    let mut text = format!(
        "process.roles=broker,controller
node.id={id}
controller.quorum.voters={voters}
listeners=PLAINTEXT://{broker},CONTROLLER://{controller}
advertised.listeners=PLAINTEXT://{broker}
controller.listener.names=CONTROLLER
log.dirs={dir}/data
offsets.topic.replication.factor={factor}
transaction.state.log.replication.factor={factor}
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor={factor}
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
",
        id = member.id(),
        voters = voters.join(","),
        dir = dir.display()
    );
    for (name, value) in settings {
        writeln!(text, "{name}={value}").expect("writing to a string does not fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::member::Shape;

    #[test]
    fn the_configuration_is_kafkas_own_but_for_what_a_single_node_needs() {
        let alone = &Member::all(Shape::ALONE).unwrap()[0];
        let text = properties(Path::new("/disk/k"), alone, &[("log.flush.interval.messages", "1")]);
        assert!(text.contains("log.dirs=/disk/k/data\n"), "{text}");
        assert!(text.ends_with("\nlog.flush.interval.messages=1\n"), "{text}");
        let shipped = properties(Path::new("/disk/k"), alone, &[]);
        assert!(!shipped.contains("flush"), "Kafka as shipped does not sync");
        let controller = alone.place().internal;
        assert!(shipped.contains(&format!("\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n")), "{shipped}");
        assert!(shipped.contains("\noffsets.topic.replication.factor=1\n"), "{shipped}");
    }

    #[test]
    fn members_of_a_cluster_vote_together() {
        let members = Member::all(Shape { brokers: 3, replication_factor: 2 }).unwrap();
        let text = properties(Path::new("/disk/k"), &members[1], &[]);
        let [one, two, three] = [0, 1, 2].map(|number| members[number].place().internal);
        let voters = format!("\nnode.id=2\ncontroller.quorum.voters=1@{one},2@{two},3@{three}\n");
        let clients = members[1].place().clients;
        assert!(text.contains(&voters), "{text}");
        assert!(text.contains(&format!("\nlisteners=PLAINTEXT://{clients},CONTROLLER://{two}\n")), "{text}");
        assert!(text.contains("\noffsets.topic.replication.factor=2\n"), "{text}");
    }
}
