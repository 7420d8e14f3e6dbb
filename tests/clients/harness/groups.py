"""What the broker says about consumer groups, asked with one client (confluent-kafka)."""

from collections import Counter

from confluent_kafka import ConsumerGroupTopicPartitions, KafkaException, TopicPartition

from .topics import admin_client
from .wait import PATIENCE_S, wait_until

# What a coordinator answers while it is starting.
STARTING = ("NOT_COORDINATOR", "COORDINATOR_NOT_AVAILABLE", "COORDINATOR_LOAD_IN_PROGRESS")


def describe(bootstrap, group) -> tuple[str, list[int]]:
    """(state, how many partitions each member has, sorted); ("DEAD", []) for one that does not exist."""
    admin = admin_client(bootstrap)
    try:
        found = admin.describe_consumer_groups([group])[group].result(PATIENCE_S)
    except KafkaException as e:
        if e.args[0].name() == "GROUP_ID_NOT_FOUND":
            return "DEAD", []
        raise
    return found.state.name, sorted(len(m.assignment.topic_partitions) for m in found.members)


def wait_for_members(bootstrap, group, partitions_each: list[int]):
    """Until the group is stable and its members have that many partitions each."""

    def as_wanted():
        now = describe(bootstrap, group)
        return now == ("STABLE", sorted(partitions_each)) or None

    try:
        wait_until(as_wanted, f"group {group} to be stable with {partitions_each} partitions")
    except AssertionError as e:
        raise AssertionError(f"{e}; the group is {describe(bootstrap, group)}") from None


def committed(bootstrap, group, topic) -> dict[int, int]:
    """Partition -> committed offset."""
    admin, request = admin_client(bootstrap), ConsumerGroupTopicPartitions(group)
    found = admin.list_consumer_group_offsets([request])[group].result(PATIENCE_S)
    return {p.partition: p.offset for p in found.topic_partitions if p.topic == topic and p.offset >= 0}


def commit(bootstrap, group, topic, offsets: dict[int, int]):
    """Sets committed offsets of a group without members; waits for a coordinator that is only just starting."""
    admin = admin_client(bootstrap)

    def done():
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(topic, p, o) for p, o in offsets.items()])
        try:
            result = admin.alter_consumer_group_offsets([wanted])[group].result(PATIENCE_S)
            errors = [p.error for p in result.topic_partitions if p.error]
        except KafkaException as e:
            errors = [e.args[0]]
        if any(error.name() not in STARTING for error in errors):
            raise KafkaException(errors[0])
        return not errors

    wait_until(done, f"offsets of group {group} to be committed")


def positions(reads) -> Counter:
    """How often each (partition, offset) was read."""
    return Counter((r.partition, r.offset) for r in reads)
