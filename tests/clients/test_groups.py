"""Consumer groups of every client: members share, leave and resume at the commits; what is read is what was sent.

Members that come, go and die in all orders are test_group_sharing.py's.
"""

import pytest

from harness.clients import CLIENTS, CONFLUENT
from harness.groups import commit, committed, describe, positions, wait_for_members
from harness.records import Record, assert_same
from harness.wait import wait_until

pytestmark = pytest.mark.group
every_client = pytest.mark.parametrize("client", CLIENTS, ids=repr)
PARTITIONS = 4


class Feed:
    """Sends numbered records, as many to each partition, and knows which (partition, offset) exist."""

    def __init__(self, bootstrap, topic):
        self.bootstrap, self.topic, self.per_partition = bootstrap, topic, 0
        self.sent: list[Record] = []

    def send(self, per_partition=10) -> set[tuple[int, int]]:
        """Sends as many to each partition; returns where they are."""
        first = self.per_partition
        records = [
            Record(value=b"%d-%d" % (p, first + i), key=b"k", partition=p)
            for i in range(per_partition)
            for p in range(PARTITIONS)
        ]
        CONFLUENT.produce(self.bootstrap, self.topic, records)
        self.sent += records
        self.per_partition += per_partition
        return {(p, first + i) for i in range(per_partition) for p in range(PARTITIONS)}


def wait_read(wanted, *members):
    """Until the members together have read all of `wanted`."""

    def all_there():
        return not wanted - {place for member in members for place in positions(member.reads())}

    wait_until(all_there, f"{len(wanted)} records to be read")


@pytest.fixture
def feed(broker, topic):
    return Feed(broker.bootstrap, topic(PARTITIONS))


@pytest.fixture
def join(broker, feed, topic_name):
    """Starts members of the test's group; those still there at the end are closed."""
    members = []

    def start(client):
        members.append(client.member(broker.bootstrap, feed.topic, topic_name))
        return members[-1]

    yield start
    for member in members:
        member.end()


@every_client
def test_join_share_leave_and_resume(client, broker, feed, join, topic_name):
    """A second member gets its share, its leaving gives it back, and who comes later resumes at the commits."""
    group = topic_name
    first_lot = feed.send()
    a = join(client)
    wait_read(first_lot, a)
    wait_for_members(broker.bootstrap, group, [4])

    b = join(client)
    wait_for_members(broker.bootstrap, group, [2, 2])
    second_lot = feed.send()
    wait_read(second_lot, a, b)
    assert second_lot & set(positions(a.reads())), "the first member still reads its share"
    assert second_lot & set(positions(b.reads())), "the second member reads its share"

    b.close()
    wait_for_members(broker.bootstrap, group, [4])
    third_lot = feed.send()
    wait_read(third_lot, a)

    a.close()
    wait_until(lambda: describe(broker.bootstrap, group)[0] == "EMPTY", "the group to be empty")
    assert committed(broker.bootstrap, group, feed.topic) == {p: 30 for p in range(PARTITIONS)}
    unique = {(r.partition, r.offset): r for r in a.reads() + b.reads()}
    assert_same(feed.sent, sorted(unique.values(), key=lambda r: r.offset), CONFLUENT.sets & client.sees)

    fourth_lot = feed.send()
    c = join(client)
    wait_read(fourth_lot, c)
    assert positions(c.reads()) == {place: 1 for place in fourth_lot}, "only what came after the commits, once"
    c.close()


def test_two_groups_do_not_disturb_each_other(broker, feed, topic_name):
    """Each group reads everything, and has its own offsets."""
    wanted = feed.send()
    for name in ("one", "two"):
        group = f"{topic_name}-{name}"
        member = CONFLUENT.member(broker.bootstrap, feed.topic, group)
        wait_read(wanted, member)
        member.close()
        assert positions(member.reads()) == {place: 1 for place in wanted}
        assert committed(broker.bootstrap, group, feed.topic) == {p: 10 for p in range(PARTITIONS)}


@every_client
def test_starts_at_the_committed_offset(client, broker, feed, join, topic_name):
    """Offsets committed for a group, by anyone, are where its members start."""
    feed.send()
    commit(broker.bootstrap, topic_name, feed.topic, {0: 3, 1: 10, 2: 0, 3: 9})
    member = join(client)
    wanted = {(0, o) for o in range(3, 10)} | {(2, o) for o in range(10)} | {(3, 9)}
    wait_read(wanted, member)
    assert positions(member.reads()) == {place: 1 for place in wanted}
