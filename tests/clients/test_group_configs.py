"""Configs of single groups (KIP-848): members are told of them and held to them, whichever broker coordinates.

How they are set, shown and refused is in the chapter configs-of-groups of test_cluster_tools.py.
"""

import pytest

from harness import groups, quorum, wire
from harness.clients.java_client import tool
from harness.coordinators import gather
from harness.quorum import Unanswered
from harness.topics import create_topic
from harness.wait import wait_until
from harness.wire import compact_string, int32, uvarint

pytestmark = [pytest.mark.group, pytest.mark.consumer_protocol, pytest.mark.timeout(600)]

STARTING = (14, 15, 16)  # COORDINATOR_LOAD_IN_PROGRESS, COORDINATOR_NOT_AVAILABLE, NOT_COORDINATOR
ALTER_CONFIGS, GROUP_RESOURCE = 33, 32
INVALID_CONFIG, INVALID_REQUEST = 40, 42
SESSION, HEARTBEAT = "consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"


def configure(bootstrap, group: str, **configs):
    """With Kafka's tool; None takes a config away."""
    configs = {name.replace("_", "."): value for name, value in configs.items()}
    added = ",".join(f"{name}={value}" for name, value in configs.items() if value is not None)
    removed = ",".join(name for name, value in configs.items() if value is None)
    change = [*(("--add-config", added) if added else ()), *(("--delete-config", removed) if removed else ())]
    entity = ("--entity-type", "groups", "--entity-name", group)
    tool("kafka.admin.ConfigCommand", "--bootstrap-server", bootstrap, "--alter", *entity, *change)


def heartbeat(address, group: str, member: str, epoch: int, topic: str) -> tuple[int, int, int]:
    """ConsumerGroupHeartbeat v1, a full one; (error, member epoch, heartbeat interval)."""
    names = uvarint(2) + compact_string(topic)
    body = compact_string(group) + compact_string(member) + int32(epoch) + compact_string(None) + compact_string(None)
    body += int32(60_000) + names + compact_string(None) + compact_string(None) + uvarint(1) + b"\0"
    with wire.Connection(address) as c:
        r = c.request(wire.CONSUMER_GROUP_HEARTBEAT, 1, body, flexible=True)
    r.int32()  # throttle time
    error = r.int16()
    for _ in range(2):  # message and member id
        length = r.uvarint()
        r.take(max(0, length - 1))
    return error, r.int32(), r.int32()


class Member:
    """One that is heard of when a test says so."""

    def __init__(self, any_address, group: str, topic: str):
        self.any_address, self.group, self.topic, self.epoch = any_address, group, topic, 0

    def beat(self) -> int:
        """The interval that it is told; waits for a coordinator, and joins again where the group says so."""

        def told():
            try:
                _, host, port = quorum.find_coordinator(self.any_address, self.group)
                error, epoch, interval = heartbeat((host, port), self.group, f"m-{self.group}", self.epoch, self.topic)
            except (Unanswered, OSError, wire.Closed):
                return None
            if error in STARTING:
                return None
            if error in (25, 110):  # UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH
                self.epoch = 0
                return None
            assert error == 0, f"error {error}"
            self.epoch = epoch
            return interval

        return wait_until(told, f"a heartbeat in group {self.group}")

    def wait_told(self, interval: int):
        wait_until(lambda: self.beat() == interval, f"members of {self.group} to be told {interval} ms")


def test_members_are_told_and_held_to_what_their_group_has(own_broker, topic_name):
    """The interval with the next heartbeat; a short session ends while others' go on."""
    broker = own_broker(
        {"group.consumer.min.session.timeout.ms": "1000", "group.consumer.min.heartbeat.interval.ms": "500"}
    )
    create_topic(broker.bootstrap, topic_name)
    short, long = (Member(broker.address, group, topic_name) for group in ("short", "long"))
    assert (short.beat(), long.beat()) == (5000, 5000)
    configure(broker.bootstrap, "short", consumer_session_timeout_ms=2000, consumer_heartbeat_interval_ms=700)
    short.wait_told(700)
    assert long.beat() == 5000
    # With the broker's 45 s it would be there for longer than this waits.
    wait_until(lambda: groups.describe(broker.bootstrap, "short")[0] == "EMPTY", "the session to end", 30)
    assert groups.describe(broker.bootstrap, "long") == ("STABLE", [1])
    broker.restart()
    assert short.beat() == 700
    configure(broker.bootstrap, "short", consumer_session_timeout_ms=None, consumer_heartbeat_interval_ms=None)
    short.wait_told(5000)


def alter_configs(address, group: str, configs: dict[str, str], validate_only=False) -> int:
    """AlterConfigs v1 of a group, which replaces all that it has; the error."""
    entries = wire.array(configs.items(), lambda entry: wire.string(entry[0]) + wire.string(entry[1]))
    body = wire.array([wire.int8(GROUP_RESOURCE) + wire.string(group) + entries]) + wire.int8(validate_only)
    with wire.Connection(address) as c:
        r = c.request(ALTER_CONFIGS, 1, body)
    r.int32()  # throttle time
    ((error, _message, kind, name),) = r.array(lambda r: (r.int16(), r.string(), r.int8(), r.string()))
    assert (kind, name) == (GROUP_RESOURCE, group)
    return error


def test_the_older_request_replaces_all_of_them(own_broker, topic_name):
    """AlterConfigs, which some clients still send."""
    broker = own_broker()
    create_topic(broker.bootstrap, topic_name)
    member = Member(broker.address, "g", topic_name)
    assert member.beat() == 5000
    assert alter_configs(broker.address, "g", {HEARTBEAT: "9000"}, validate_only=True) == 0
    assert alter_configs(broker.address, "g", {HEARTBEAT: "7000", SESSION: "50000"}) == 0
    member.wait_told(7000)
    assert alter_configs(broker.address, "g", {HEARTBEAT: "20000"}) == INVALID_CONFIG
    assert alter_configs(broker.address, "g", {"no.such": "1"}) == INVALID_CONFIG
    assert alter_configs(broker.address, "", {HEARTBEAT: "7000"}) == INVALID_REQUEST
    assert member.beat() == 7000
    assert alter_configs(broker.address, "g", {SESSION: "50000"}) == 0
    member.wait_told(5000)


@pytest.mark.cluster
def test_they_survive_whoever_coordinates(own_cluster):
    """The next coordinator has them, and so has one that is started after all were stopped."""
    cluster = own_cluster("group-configs")
    gather(cluster, 2)
    cluster.create_topic("t", {0: [1, 3]})
    cluster.settle()
    configure(cluster.bootstrap, "g", consumer_heartbeat_interval_ms=7000)
    member = Member(cluster[1].address, "g", "t")
    member.wait_told(7000)
    cluster[2].kill9()
    member.wait_told(7000)
    # A change reaches the coordinator that is now.
    configure(cluster[1].bootstrap, "g", consumer_heartbeat_interval_ms=8000)
    member.wait_told(8000)
    cluster.start_nodes(2)
    for node_id in sorted(cluster.nodes):
        cluster[node_id].kill9()
    cluster.start_missing()
    member.wait_told(8000)
