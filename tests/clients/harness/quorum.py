"""Requests about the cluster itself over a plain socket: who is in it, who leads it, what one broker alone knows.

A client library asks whichever broker it likes; here the broker that is asked is the one that answers. Every function
raises `Unanswered` when there is no usable answer (no connection, a time-out, an error code), so that callers can poll.
"""

from dataclasses import dataclass

from . import wire
from .wire import Connection, Reader, array, compact_string, int8, int16, int32, string, uvarint

DESCRIBE_CONFIGS, ELECT_LEADERS, INCREMENTAL_ALTER_CONFIGS, DESCRIBE_QUORUM, DESCRIBE_CLUSTER = 32, 43, 44, 55, 60
ALTER_PARTITION_REASSIGNMENTS, LIST_PARTITION_REASSIGNMENTS = 45, 46
TOPIC_RESOURCE, BROKER_RESOURCE = 2, 4
GROUP_KEY, TRANSACTION_KEY = 0, 1
TIMEOUT_S = 5.0

Address = tuple[str, int]


class Unanswered(Exception):
    """The broker gave no usable answer; it says why."""


@dataclass(frozen=True)
class Member:
    """A broker as DescribeCluster tells it."""

    id: int
    host: str
    port: int
    rack: str | None
    fenced: bool


@dataclass(frozen=True)
class ClusterView:
    """The cluster as one broker sees it."""

    cluster_id: str
    controller: int
    members: tuple[Member, ...]

    def unfenced(self) -> set[int]:
        return {m.id for m in self.members if not m.fenced}


def _ask(address: Address, api_key, version, body, flexible, timeout_s=TIMEOUT_S) -> Reader:
    try:
        with Connection(address, timeout_s) as c:
            return c.request(api_key, version, body, flexible)
    except (OSError, wire.Closed) as e:
        raise Unanswered(f"{address}: {e or type(e).__name__}") from e


def _check(error: int, what: str):
    if error != wire.NONE:
        raise Unanswered(f"{what}: error code {error}")


def _compact(r: Reader) -> str | None:
    n = r.uvarint()
    return None if n == 0 else r.take(n - 1).decode()


def _compact_array(r: Reader, one) -> list:
    n = r.uvarint()
    return [one(r) for _ in range(max(0, n - 1))]


def _tags(r: Reader):
    for _ in range(r.uvarint()):
        r.uvarint()
        r.take(r.uvarint())


def describe_cluster(address: Address, include_fenced=True, timeout_s=TIMEOUT_S) -> ClusterView:
    """DescribeCluster v2 (KIP-1073), brokers sorted by id."""
    body = int8(0) + int8(1) + int8(int(include_fenced)) + b"\0"
    r = _ask(address, DESCRIBE_CLUSTER, 2, body, True, timeout_s)
    r.int32()  # throttle time
    error, _message, _endpoint_type = r.int16(), _compact(r), r.int8()
    _check(error, "DescribeCluster")

    def member(r):
        found = Member(r.int32(), _compact(r), r.int32(), _compact(r), bool(r.int8()))
        _tags(r)
        return found

    cluster_id, controller = _compact(r), r.int32()
    return ClusterView(cluster_id, controller, tuple(sorted(_compact_array(r, member), key=lambda m: m.id)))


@dataclass(frozen=True)
class QuorumView:
    """Who leads the metadata quorum, by one broker's word; -1 where it knows of no leader."""

    leader: int
    epoch: int
    voters: frozenset[int]


def describe_quorum(address: Address, timeout_s=TIMEOUT_S) -> QuorumView:
    """DescribeQuorum v0, up to the voters."""
    partition = uvarint(2) + int32(0) + b"\0"
    body = uvarint(2) + compact_string("__cluster_metadata") + partition + b"\0" + b"\0"
    r = _ask(address, DESCRIBE_QUORUM, 0, body, True, timeout_s)
    _check(r.int16(), "DescribeQuorum")
    assert (r.uvarint(), _compact(r), r.uvarint(), r.int32()) == (2, "__cluster_metadata", 2, 0)
    _check(r.int16(), "DescribeQuorum of the partition")
    leader, epoch, _ = r.int32(), r.int32(), r.int64()

    def replica(r: Reader) -> int:
        node_id, _ = r.int32(), r.int64()
        _tags(r)
        return node_id

    return QuorumView(leader, epoch, frozenset(_compact_array(r, replica)))


def find_coordinator(address: Address, key: str, key_type=GROUP_KEY) -> tuple[int, str, int]:
    """FindCoordinator v1: (node id, host, port)."""
    r = _ask(address, wire.FIND_COORDINATOR, 1, string(key) + int8(key_type), False)
    r.int32()  # throttle time
    error, _message = r.int16(), r.string()
    _check(error, f"FindCoordinator of {key}")
    return r.int32(), r.string(), r.int32()


def topic_names(address: Address, timeout_s=TIMEOUT_S) -> set[str]:
    """All topics that this broker knows of: Metadata v1."""
    r = _ask(address, wire.METADATA, 1, int32(-1), False, timeout_s)
    r.array(lambda r: (r.int32(), r.string(), r.int32(), r.string()))  # brokers
    r.int32()  # controller
    return {name for name, error in r.array(_topic) if error not in (wire.UNKNOWN_TOPIC_OR_PARTITION,)}


@dataclass(frozen=True)
class PartitionView:
    """A partition as one broker's metadata tells it; leader -1 where there is none."""

    leader: int
    replicas: tuple[int, ...]
    in_sync: frozenset[int]


def partitions(address: Address, topic: str, timeout_s=TIMEOUT_S) -> dict[int, PartitionView]:
    """A topic's partitions by this broker. Empty where it does not know the topic.

    Metadata v4: before that, asking for a topic by its name makes it where there is none.
    """
    r = _ask(address, wire.METADATA, 4, array([string(topic)]) + int8(0), False, timeout_s)
    r.int32()  # throttle time
    r.array(lambda r: (r.int32(), r.string(), r.int32(), r.string()))  # brokers
    r.string(), r.int32()  # cluster id, controller

    def partition(r: Reader):
        _error, partition_id, leader = r.int16(), r.int32(), r.int32()
        replicas, in_sync = r.array(Reader.int32), r.array(Reader.int32)
        return partition_id, PartitionView(leader, tuple(replicas), frozenset(in_sync))

    def one(r: Reader):
        r.int16(), r.string(), r.int8()  # error, name, internal
        return r.array(partition)

    (found,) = r.array(one)
    return dict(found)


def leader_epochs(address: Address, topic: str, timeout_s=TIMEOUT_S) -> dict[int, tuple[int, int]]:
    """Partition -> (leader, leader epoch) by this broker (Metadata v7). Empty where it does not know the topic."""
    r = _ask(address, wire.METADATA, 7, array([string(topic)]) + int8(0), False, timeout_s)
    r.int32()  # throttle time
    r.array(lambda r: (r.int32(), r.string(), r.int32(), r.string()))  # brokers
    r.string(), r.int32()  # cluster id, controller

    def partition(r: Reader):
        _error, partition_id, found = r.int16(), r.int32(), (r.int32(), r.int32())
        for _ in range(3):  # replicas, those in sync, those offline
            r.array(Reader.int32)
        return partition_id, found

    def one(r: Reader):
        r.int16(), r.string(), r.int8()  # error, name, internal
        return r.array(partition)

    (found,) = r.array(one)
    return dict(found)


def _topic(r: Reader) -> tuple[str, int]:
    error, name, _internal = r.int16(), r.string(), r.int8()
    r.array(lambda r: (r.int16(), r.int32(), r.int32(), r.array(Reader.int32), r.array(Reader.int32)))
    return name, error


def topic_configs(address: Address, topics, config: str, timeout_s=TIMEOUT_S) -> dict[str, str | None]:
    """One config of many topics by this broker (DescribeConfigs v1); topics that it does not know are left out."""
    keys = array([string(config)])
    body = array([int8(TOPIC_RESOURCE) + string(t) + keys for t in topics]) + int8(0)
    r = _ask(address, DESCRIBE_CONFIGS, 1, body, False, timeout_s)
    r.int32()  # throttle time

    def entry(r):
        found = r.string(), r.string()
        r.take(3)  # read-only, source, sensitive
        r.array(lambda r: (r.string(), r.string(), r.int8()))
        return found

    def resource(r):
        error, _message, _type, name = r.int16(), r.string(), r.int8(), r.string()
        return name, error, dict(r.array(entry))

    return {name: found.get(config) for name, error, found in r.array(resource) if error == wire.NONE}


def create_topic(
    address: Address,
    name: str,
    assignment: dict[int, list[int]],
    configs: dict[str, str] | None = None,
    timeout_s=TIMEOUT_S,
):
    """CreateTopics v2 with the replicas of each partition given; raises Unanswered unless it is acknowledged."""
    partitions = [int32(p) + array(replicas, int32) for p, replicas in assignment.items()]
    set_configs = [string(config) + string(value) for config, value in (configs or {}).items()]
    topic = string(name) + int32(-1) + int16(-1) + array(partitions) + array(set_configs)
    body = array([topic]) + int32(int(timeout_s * 1000)) + int8(0)
    r = _ask(address, wire.CREATE_TOPICS, 2, body, False, timeout_s)
    r.int32()  # throttle time
    ((_name, error, _message),) = r.array(lambda r: (r.string(), r.int16(), r.string()))
    _check(error, f"creation of {name}")


def delete_topic(address: Address, name: str, timeout_s=TIMEOUT_S):
    """DeleteTopics v1; raises Unanswered unless it is acknowledged."""
    body = array([string(name)]) + int32(int(timeout_s * 1000))
    r = _ask(address, wire.DELETE_TOPICS, 1, body, False, timeout_s)
    r.int32()  # throttle time
    ((_name, error),) = r.array(lambda r: (r.string(), r.int16()))
    _check(error, f"deletion of {name}")


def set_topic_config(address: Address, topic: str, config: str, value: str, timeout_s=TIMEOUT_S):
    """IncrementalAlterConfigs v0, one SET; raises Unanswered unless it is acknowledged."""
    _set_config(address, TOPIC_RESOURCE, topic, config, value, timeout_s)


def set_broker_config(address: Address, broker: int, config: str, value: str, timeout_s=TIMEOUT_S):
    """The same for the broker at this address."""
    _set_config(address, BROKER_RESOURCE, str(broker), config, value, timeout_s)


def _set_config(address, resource, name, config, value, timeout_s):
    change = string(config) + int8(0) + string(value)
    body = array([int8(resource) + string(name) + array([change])]) + int8(0)
    r = _ask(address, INCREMENTAL_ALTER_CONFIGS, 0, body, False, timeout_s)
    r.int32()  # throttle time
    ((error, *_),) = r.array(lambda r: (r.int16(), r.string(), r.int8(), r.string()))
    _check(error, f"change of {name}")


def reassign(address: Address, topic: str, to: dict[int, list[int] | None], timeout_s=TIMEOUT_S):
    """AlterPartitionReassignments v0; None cancels. Raises Unanswered unless all of it is acknowledged."""
    ids = lambda replicas: uvarint(0) if replicas is None else _compact_list([int32(id) for id in replicas])  # noqa: E731
    partitions = _compact_list([int32(p) + ids(replicas) + b"\0" for p, replicas in to.items()])
    body = int32(int(timeout_s * 1000)) + _compact_list([compact_string(topic) + partitions + b"\0"]) + b"\0"
    r = _ask(address, ALTER_PARTITION_REASSIGNMENTS, 0, body, True, timeout_s)
    r.int32()  # throttle time
    _check(r.int16(), f"reassignment of {topic}: {_compact(r)}")

    def partition(r: Reader):
        found = r.int32(), r.int16(), _compact(r)
        _tags(r)
        return found

    ((_, answers),) = _compact_array(r, lambda r: _named(r, partition))
    for p, error, message in answers:
        _check(error, f"reassignment of {topic}-{p}: {message}")


@dataclass(frozen=True)
class Reassignment:
    """One that is under way."""

    replicas: tuple[int, ...]
    adding: tuple[int, ...]
    removing: tuple[int, ...]


def reassignments(address: Address, timeout_s=TIMEOUT_S) -> dict[tuple[str, int], Reassignment]:
    """ListPartitionReassignments v0 of all topics: (topic, partition) -> what is under way."""
    body = int32(int(timeout_s * 1000)) + uvarint(0) + b"\0"
    r = _ask(address, LIST_PARTITION_REASSIGNMENTS, 0, body, True, timeout_s)
    r.int32()  # throttle time
    _check(r.int16(), f"ListPartitionReassignments: {_compact(r)}")

    def partition(r: Reader):
        found = r.int32(), *(tuple(_compact_array(r, Reader.int32)) for _ in range(3))
        _tags(r)
        return found

    topics = _compact_array(r, lambda r: _named(r, partition))
    return {(name, p): Reassignment(*of) for name, partitions in topics for p, *of in partitions}


def _named(r: Reader, one):
    """A topic of a flexible answer: its name, and what is said of its partitions."""
    found = _compact(r), _compact_array(r, one)
    _tags(r)
    return found


def _compact_list(items: list[bytes]) -> bytes:
    return uvarint(len(items) + 1) + b"".join(items)


PREFERRED, UNCLEAN = 0, 1


def elect_leader(address: Address, topic: str, partition: int, election_type: int, timeout_s=TIMEOUT_S) -> int:
    """ElectLeaders v1 of one partition; returns its error code. (The Python clients' own calls are broken or missing.)"""
    named = array([string(topic) + array([int32(partition)])])
    body = int8(election_type) + named + int32(int(timeout_s * 1000))
    r = _ask(address, ELECT_LEADERS, 1, body, flexible=False, timeout_s=timeout_s)
    r.int32()  # throttle time
    error = r.int16()
    results = r.array(lambda r: (r.string(), r.array(lambda r: (r.int32(), r.int16(), r.string()))))
    return error or results[0][1][0][1]
