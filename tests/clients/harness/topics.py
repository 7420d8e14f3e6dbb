"""Topics for tests that are not about topics: made with one client (confluent-kafka), usable when made."""

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from . import wire
from .wait import PATIENCE_S, wait_until


def admin_client(bootstrap) -> AdminClient:
    """Keep it in a variable while its answers are awaited: they never come once it is collected."""
    return AdminClient({"bootstrap.servers": bootstrap})


# What a partition answers while its leader is only just starting; clients retry these.
STARTING = (wire.UNKNOWN_TOPIC_OR_PARTITION, wire.LEADER_NOT_AVAILABLE, wire.NOT_LEADER_OR_FOLLOWER)


def create_topic(bootstrap, name, partitions=1, configs=None):
    """Creates the topic and waits until every partition answers (Kafka acknowledges a creation before that)."""
    admin = admin_client(bootstrap)
    new = NewTopic(name, num_partitions=partitions, replication_factor=1, config=configs or {})
    admin.create_topics([new])[name].result(PATIENCE_S)
    host, port = bootstrap.split(":")
    with wire.Connection((host, int(port))) as c:

        def ready():
            found = wire.list_offsets(c, name, range(partitions), -1)
            return not {error for error, _, _ in found.values()} & set(STARTING)

        wait_until(ready, f"{partitions} partitions of topic {name} to have leaders")


def delete_topic(bootstrap, name):
    admin = admin_client(bootstrap)
    try:
        admin.delete_topics([name])[name].result(PATIENCE_S)
    except KafkaException as e:
        if e.args[0].name() != "UNKNOWN_TOPIC_OR_PART":
            raise


def offsets(broker, topic, partition=0) -> tuple[int, int]:
    """(log start offset, high watermark) by ListOffsets."""
    with wire.Connection(broker.address) as c:

        def one(timestamp):
            answer = wire.list_offset(c, topic, partition, timestamp)
            return None if answer[0] in STARTING else answer

        found = []
        for timestamp in (-2, -1):
            error, _, offset = wait_until(lambda: one(timestamp), f"{topic}-{partition} to have a leader")
            assert error == wire.NONE, f"ListOffsets({timestamp}) of {topic}-{partition}: error {error}"
            found.append(offset)
        return tuple(found)
