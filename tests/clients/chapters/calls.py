"""Admin clients' calls as steps: each returns what it was told, refusals with the broker's own words."""

import json

from confluent_kafka import ElectionType, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from kafka import KafkaAdminClient

from harness.admins import Refused
from harness.admins.kadm_admin import KadmAdmin
from harness.transcript import Call
from harness.wait import PATIENCE_S


def _told(future) -> str:
    """ "ok", or the refusal with its text."""
    try:
        future.result(PATIENCE_S)
        return "ok"
    except KafkaException as e:
        return f"{e.args[0].name()}: {e.args[0].str()}"


def _client(bootstrap) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap})


def create(topic: str, *, validate_only=False, **options) -> Call:
    """confluent-kafka's create_topics; options are NewTopic's."""

    # The client wants the number of partitions to be said along with their replicas.
    counted = {"num_partitions": len(options["replica_assignment"])} if "replica_assignment" in options else {}

    def call(bootstrap):
        client = _client(bootstrap)
        new = NewTopic(topic, **counted, **options)
        return _told(client.create_topics([new], validate_only=validate_only)[topic])

    shown = {**options, **({"validate_only": True} if validate_only else {})}
    return Call(f"confluent-kafka create_topics {topic} {json.dumps(shown)}", call)


def grow(topic: str, total: int, assignment: list[list[int]] | None = None) -> Call:
    def call(bootstrap):
        client = _client(bootstrap)
        more = {} if assignment is None else {"replica_assignment": assignment}
        return _told(client.create_partitions([NewPartitions(topic, total, **more)])[topic])

    return Call(f"confluent-kafka create_partitions {topic} to {total}, new ones on {assignment}", call)


def delete(topic: str) -> Call:
    def call(bootstrap):
        client = _client(bootstrap)
        return _told(client.delete_topics([topic])[topic])

    return Call(f"confluent-kafka delete_topics {topic}", call)


def alter(kind: str, name: str, *changes: tuple[str, str, str | None]) -> Call:
    """confluent-kafka's incremental_alter_configs: changes are (operation, config, value)."""

    def call(bootstrap):
        client = _client(bootstrap)
        entries = [
            ConfigEntry(config, value, incremental_operation=AlterConfigOpType[operation])
            for operation, config, value in changes
        ]
        resource = ConfigResource(ResourceType[kind], name, incremental_configs=entries)
        return _told(client.incremental_alter_configs([resource])[resource])

    return Call(f"confluent-kafka incremental_alter_configs {kind} {name!r} {json.dumps(changes)}", call)


def describe_topic(topic: str) -> Call:
    """confluent-kafka's describe_topics, racks included."""

    def call(bootstrap):
        client = _client(bootstrap)
        try:
            found = client.describe_topics(TopicCollection([topic]))[topic].result(PATIENCE_S)
        except KafkaException as e:
            return f"{e.args[0].name()}: {e.args[0].str()}"
        nodes = lambda nodes: [f"{n.id} in {n.rack}" for n in nodes]  # noqa: E731
        return {
            p.id: {
                "leader": p.leader and p.leader.id,
                "replicas": nodes(p.replicas),
                "isr": sorted(n.id for n in p.isr),
            }
            for p in found.partitions
        }

    return Call(f"confluent-kafka describe_topics {topic}", call, each=True)


def describe_cluster_confluent() -> Call:
    def call(bootstrap):
        client = _client(bootstrap)
        found = client.describe_cluster().result(PATIENCE_S)
        nodes = sorted(found.nodes, key=lambda n: n.id)
        return {
            "controller is one of them": found.controller.id in {n.id for n in nodes},
            "nodes": [[n.id, f"{n.host}:{n.port}", n.rack] for n in nodes],
        }

    return Call("confluent-kafka describe_cluster", call, each=True)


def elect(*partitions: tuple[str, int], kind="PREFERRED") -> Call:
    """confluent-kafka's elect_leaders."""

    def call(bootstrap):
        client = _client(bootstrap)
        asked = [TopicPartition(topic, p) for topic, p in partitions]
        try:
            found = client.elect_leaders(ElectionType[kind], asked).result(PATIENCE_S)
        except KafkaException as e:
            return f"{e.args[0].name()}: {e.args[0].str()}"
        told = {f"{p.topic}-{p.partition}": e and f"{e.name()}: {e.str()}" for p, e in found.items()}
        return told

    return Call(f"confluent-kafka elect_leaders {kind} {json.dumps(partitions)}", call)


def kafka_python(label: str, function, each=False) -> Call:
    """Any call of kafka-python's KafkaAdminClient."""

    def call(bootstrap):
        client = KafkaAdminClient(bootstrap_servers=bootstrap)
        try:
            return function(client)
        except Exception as e:
            return f"{type(e).__name__}: {e}"
        finally:
            client.close()

    return Call(f"kafka-python {label}", call, each=each)


def kadm(operation: str, each=False, **arguments) -> Call:
    """An operation of franz-go's kadm, by the program in franz/."""

    def call(bootstrap):
        try:
            result = KadmAdmin(bootstrap)._run(operation, **arguments)
        except Refused as e:
            return f"refused: {e.name}"
        if operation == "describe_topic":
            return [{**partition, "isr": sorted(partition["isr"])} for partition in result]
        return result

    return Call(f"kadm {operation} {json.dumps(arguments)}", call, each=each)
