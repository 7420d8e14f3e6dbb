"""Kafka's own command line tools (Java): what they print is what users see."""

import json
import re
import tempfile

from ..clients.java_client import ToolFailed, tool
from .base import Admin, Refused

GROUPS = "consumer.group.ConsumerGroupCommand"
# What the tools print for an error -> its name in the protocol.
ERRORS = {
    "TopicExistsException": "TOPIC_ALREADY_EXISTS",
    "InvalidTopicException": "INVALID_TOPIC_EXCEPTION",
    "InvalidPartitionsException": "INVALID_PARTITIONS",
    "InvalidReplicationFactorException": "INVALID_REPLICATION_FACTOR",
    "InvalidConfigurationException": "INVALID_CONFIG",
    "ConfigException": "INVALID_CONFIG",  # TopicCommand checks types itself
    "UnknownTopicOrPartitionException": "UNKNOWN_TOPIC_OR_PARTITION",
    "does not exist as expected": "UNKNOWN_TOPIC_OR_PARTITION",
    "OffsetOutOfRangeException": "OFFSET_OUT_OF_RANGE",
    "GroupIdNotFoundException": "GROUP_ID_NOT_FOUND",
    "GroupNotEmptyException": "NON_EMPTY_GROUP",
    "GroupSubscribedToTopicException": "GROUP_SUBSCRIBED_TO_TOPIC",
}


def _refuse(text: str):
    for printed, name in ERRORS.items():
        if printed in text:
            raise Refused(name)


class JavaAdmin(Admin):
    name = "java-tools"

    def __init__(self, bootstrap):
        super().__init__(bootstrap)
        self.partitions: dict[str, list[int]] = {}  # GetOffsetShell leaves out partitions that have no answer

    def _run(self, command, *args) -> str:
        try:
            done = tool(command, "--bootstrap-server", self.bootstrap, *args)
        except ToolFailed as e:
            _refuse(str(e))
            raise
        # Some tools end with status 0 and only print the error.
        _refuse((done.stdout + done.stderr).decode())
        return done.stdout.decode()

    def _table(self, *args) -> list[dict[str, str]]:
        """The rows of a table that the group tool prints, by column."""
        out = re.sub(r" +\(\w+\)", "", self._run(GROUPS, *args))  # "COORDINATOR (ID)" and "host:port  (1)"
        lines = [line.split() for line in out.splitlines() if line.strip()]
        if not lines:
            return []
        header, *rows = lines
        return [dict(zip(header, row)) for row in rows]

    def create_topic(self, topic, partitions=1, replication=1, configs=None):
        settings = [word for k, v in (configs or {}).items() for word in ("--config", f"{k}={v}")]
        self._run(
            "TopicCommand", "--create", "--topic", topic, "--partitions", str(partitions),
            "--replication-factor", str(replication), *settings,
        )  # fmt: skip

    def delete_topic(self, topic):
        self._run("TopicCommand", "--delete", "--topic", topic)

    def list_topics(self):
        return set(self._run("TopicCommand", "--list").split())

    def describe_topic(self, topic):
        out = self._run("TopicCommand", "--describe", "--topic", topic)
        found = re.findall(r"Partition: (\d+)\tLeader: (\d+)\tReplicas: ([\d,]+)\tIsr: ([\d,]*)", out)
        numbers = lambda text: [int(n) for n in text.split(",") if n]  # noqa: E731
        return {int(p): (int(leader), numbers(replicas), numbers(isr)) for p, leader, replicas, isr in found}

    def create_partitions(self, topic, total):
        self._run("TopicCommand", "--alter", "--topic", topic, "--partitions", str(total))

    def describe_configs(self, topic):
        out = self._run(
            "kafka.admin.ConfigCommand", "--describe", "--entity-type", "topics", "--entity-name", topic, "--all"
        )
        found = re.findall(r"^  ([a-z.]+)=(.*) sensitive=\w+ synonyms=\{(.*)\}$", out, re.MULTILINE)
        return {name: (value, "DYNAMIC_TOPIC_CONFIG" in synonyms) for name, value, synonyms in found}

    def alter_configs(self, topic, configs):
        added = [f"{k}={v}" for k, v in configs.items() if v is not None]
        deleted = [k for k, v in configs.items() if v is None]
        changes = (["--add-config", ",".join(added)] if added else []) + (
            ["--delete-config", ",".join(deleted)] if deleted else []
        )
        self._run(
            "kafka.admin.ConfigCommand", "--alter", "--entity-type", "topics", "--entity-name", topic, *changes
        )

    def delete_records(self, topic, before):
        wanted = [{"topic": topic, "partition": p, "offset": offset} for p, offset in before.items()]
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"partitions": wanted, "version": 1}, file)
            file.flush()
            out = self._run("DeleteRecordsCommand", "--offset-json-file", file.name)
        return {int(p): int(low) for p, low in re.findall(r"-(\d+)\tlow_watermark: (\d+)", out)}

    def list_offsets(self, topic, at):
        time = {"earliest": "-2", "latest": "-1", "max_timestamp": "-3"}[at] if isinstance(at, str) else str(at)
        out = self._run("GetOffsetShell", "--topic", topic, "--time", time)
        found = {int(p): int(offset) for p, offset in re.findall(r":(\d+):(\d+)$", out, re.MULTILINE)}
        if topic not in self.partitions:
            self.partitions[topic] = list(self.describe_topic(topic))
        return {p: found.get(p) for p in self.partitions[topic]}

    def brokers(self):
        out = self._run("BrokerApiVersionsCommand")
        return {(int(i), host, int(port)) for host, port, i in re.findall(r"^(\S+):(\d+) \(id: (\d+)", out, re.MULTILINE)}

    def log_dir_sizes(self, topic):
        out = self._run("LogDirsCommand", "--describe", "--topic-list", topic)
        answer = json.loads(next(line for line in out.splitlines() if line.startswith("{")))
        return {
            int(p["partition"].rsplit("-", 1)[1]): p["size"]
            for broker in answer["brokers"]
            for log_dir in broker["logDirs"]
            for p in log_dir["partitions"]
        }

    def list_groups(self):
        return set(self._run(GROUPS, "--list").split())

    def describe_group(self, group):
        (row,) = self._table("--describe", "--group", group, "--state")
        return row["STATE"].lower(), int(row["#MEMBERS"])

    def delete_group(self, group):
        self._run(GROUPS, "--delete", "--group", group)

    def committed(self, group, topic):
        rows = self._table("--describe", "--group", group, "--offsets")
        return {
            int(row["PARTITION"]): int(row["CURRENT-OFFSET"])
            for row in rows
            if row["TOPIC"] == topic and row["CURRENT-OFFSET"] != "-"
        }

    def delete_offsets(self, group, topic, partitions):
        named = ",".join(map(str, partitions))
        self._run(GROUPS, "--delete-offsets", "--group", group, "--topic", f"{topic}:{named}")
