"""Topics, configs, records and groups as administrators see them, with four admin clients."""

import pytest

from harness.admins import ADMINS, ConfluentAdmin, Refused
from harness.clients import CONFLUENT
from harness.groups import commit, wait_for_members
from harness.records import T0, Record
from harness.topics import offsets
from harness.wait import wait_until

pytestmark = pytest.mark.admin


@pytest.fixture(params=ADMINS, ids=lambda cls: cls.name)
def admin(request, broker):
    client = request.param(broker.bootstrap)
    yield client
    client.close()


@pytest.fixture
def observer(broker):
    """A second pair of eyes: shows what came of an operation without starting a Java tool for it."""
    return ConfluentAdmin(broker.bootstrap)


def fill(broker, topic, partitions=1, per_partition=10, size=100):
    """Numbered records with rising timestamps, as many in each partition."""
    records = [
        Record(value=b"%d" % i + b"." * size, partition=p, timestamp=T0 + i)
        for i in range(per_partition)
        for p in range(partitions)
    ]
    CONFLUENT.produce(broker.bootstrap, topic, records)


def settled(condition, what):
    """Kafka shows a change of metadata a moment after it acknowledged it: what was asked for comes to be."""

    def ask():
        try:
            return condition()
        except Refused as e:
            if e.name != "UNKNOWN_TOPIC_OR_PARTITION":  # not there yet
                raise

    return wait_until(ask, what)


def test_topic_life(admin, broker, topic_name):
    """Created, listed, described with leader and replicas, grown, deleted, gone."""
    admin.create_topic(topic_name, partitions=3)
    settled(lambda: topic_name in admin.list_topics(), "the topic in the list")
    (broker_id, _, _) = next(iter(admin.brokers()))
    assert admin.describe_topic(topic_name) == {p: (broker_id, [broker_id], [broker_id]) for p in range(3)}

    fill(broker, topic_name, partitions=3)
    admin.create_partitions(topic_name, 5)
    settled(lambda: set(admin.describe_topic(topic_name)) == set(range(5)), "five partitions")
    assert [offsets(broker, topic_name, p) for p in range(5)] == [(0, 10)] * 3 + [(0, 0)] * 2
    CONFLUENT.produce(broker.bootstrap, topic_name, [Record(value=b"in the new one", partition=4)])
    assert offsets(broker, topic_name, 4) == (0, 1)

    admin.delete_topic(topic_name)
    settled(lambda: topic_name not in admin.list_topics(), "the topic to be gone")
    with pytest.raises(Refused, match="UNKNOWN_TOPIC_OR_PARTITION"):
        admin.describe_topic(topic_name)


def test_deleted_topic_comes_back_empty(admin, broker, topic_name):
    """A topic of the same name, made after a deletion, has none of the old records."""
    admin.create_topic(topic_name)
    fill(broker, topic_name)
    admin.delete_topic(topic_name)
    settled(lambda: topic_name not in admin.list_topics(), "the topic to be gone")
    admin.create_topic(topic_name)
    settled(lambda: admin.describe_topic(topic_name)[0][0] >= 0, "the topic to be back")
    assert offsets(broker, topic_name) == (0, 0)
    CONFLUENT.produce(broker.bootstrap, topic_name, [Record(value=b"new")])
    assert [r.value for r in CONFLUENT.consume(broker.bootstrap, topic_name, 1)] == [b"new"]


def test_configs(admin, observer, topic_name):
    """Configs set at creation, altered one by one and taken back; the others keep their defaults."""
    admin.create_topic(topic_name, configs={"retention.ms": "600000", "cleanup.policy": "compact"})
    settled(lambda: topic_name in observer.list_topics(), "the topic in the list")
    found = admin.describe_configs(topic_name)
    assert found["retention.ms"] == ("600000", True)
    assert found["cleanup.policy"] == ("compact", True)
    assert found["segment.bytes"] == (str(1 << 30), False)
    assert found["max.message.bytes"] == ("1048588", False)
    assert found["message.timestamp.type"] == ("CreateTime", False)

    admin.alter_configs(topic_name, {"retention.ms": None, "segment.bytes": str(2 << 20)})
    settled(lambda: admin.describe_configs(topic_name)["segment.bytes"] == (str(2 << 20), True), "the change")
    found = admin.describe_configs(topic_name)
    assert found["retention.ms"] == (str(7 * 24 * 3600 * 1000), False), "back to the default"
    assert found["cleanup.policy"] == ("compact", True), "not named in the change: as it was"


def test_changed_config_takes_effect(admin, broker, topic):
    """max.message.bytes changed at run time decides what is accepted from then on."""
    name = topic()
    big = Record(value=b"x" * 5000)
    CONFLUENT.produce(broker.bootstrap, name, [big])
    admin.alter_configs(name, {"max.message.bytes": "1000"})

    def refused():
        try:
            CONFLUENT.produce(broker.bootstrap, name, [big])
        except Exception as e:
            return "MSG_SIZE_TOO_LARGE" in str(e)

    wait_until(refused, "a record above max.message.bytes to be refused")
    CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"x" * 500)])
    assert CONFLUENT.consume(broker.bootstrap, name, offsets(broker, name)[1])[-1].value == b"x" * 500


def test_list_offsets(admin, broker, topic):
    """Earliest, latest, by time (exact, between, beyond the end), and the largest timestamp, per partition."""
    name = topic(partitions=2)
    stamps = [0, 10, 20, 90, 40, 50]  # the largest is not the last
    for stamp in stamps:  # one batch each
        CONFLUENT.produce(broker.bootstrap, name, [Record(value=b"v", timestamp=T0 + stamp)])
    assert admin.list_offsets(name, "earliest") == {0: 0, 1: 0}
    assert admin.list_offsets(name, "latest") == {0: 6, 1: 0}
    assert admin.list_offsets(name, "max_timestamp") == {0: 3, 1: None}
    wanted = [(1, 1), (90, 3), (91, None)]
    if admin.name != "java-tools":  # a second for each
        wanted += [(-5, 0), (0, 0), (20, 2), (21, 3)]
    for stamp, offset in wanted:
        assert admin.list_offsets(name, T0 + stamp) == {0: offset, 1: None}, f"first record at or after {stamp}"


def test_delete_records(admin, broker, topic):
    """Records before an offset go, and reads begin there; beyond the end is refused."""
    name = topic(partitions=2)
    fill(broker, name, partitions=2)
    assert admin.delete_records(name, {0: 7, 1: 10}) == {0: 7, 1: 10}
    assert (offsets(broker, name, 0), offsets(broker, name, 1)) == ((7, 10), (10, 10))
    read = CONFLUENT.consume(broker.bootstrap, name, 3)
    assert [(r.partition, r.offset) for r in read] == [(0, 7), (0, 8), (0, 9)]
    assert admin.delete_records(name, {0: 5}) == {0: 7}, "already gone: as it was"
    with pytest.raises(Refused, match="OFFSET_OUT_OF_RANGE"):
        admin.delete_records(name, {0: 11})
    assert admin.delete_records(name, {0: -1}) == {0: 10}, "-1: up to the high watermark"


def test_cluster(admin, broker):
    """The cluster is this one broker, at the address that it advertises."""
    found = admin.brokers()
    assert [(host, port) for _, host, port in found] == [broker.address]


def test_log_dirs(admin, broker, topic):
    """The log directory's sizes cover what was written."""
    if admin.name == "confluent-kafka":
        pytest.skip("confluent-kafka's AdminClient cannot describe log directories")
    name = topic(partitions=2)
    fill(broker, name, partitions=1, per_partition=100, size=1000)
    sizes = admin.log_dir_sizes(name)
    assert set(sizes) == {0, 1}
    assert sizes[0] >= 100_000
    assert sizes[1] < sizes[0]


def test_groups(admin, broker, topic, topic_name):
    """A group is listed and described; it cannot be deleted while it has members, and is gone afterwards."""
    name, group = topic(), topic_name
    fill(broker, name)
    member = CONFLUENT.member(broker.bootstrap, name, group)
    try:
        wait_for_members(broker.bootstrap, group, [1])
        wait_until(lambda: len(member.reads()) == 10, "the records to be read")
        assert group in admin.list_groups()
        assert admin.describe_group(group) == ("stable", 1)
        with pytest.raises(Refused, match="NON_EMPTY_GROUP"):
            admin.delete_group(group)
    finally:
        member.close()
    wait_until(lambda: admin.describe_group(group) == ("empty", 0), "the group to be empty")
    assert admin.committed(group, name) == {0: 10}
    admin.delete_group(group)
    assert group not in admin.list_groups()
    with pytest.raises(Refused, match="GROUP_ID_NOT_FOUND"):
        admin.delete_group(group)


def test_delete_offsets(admin, broker, topic, topic_name):
    """Single committed offsets go, the others stay; not while a member is subscribed to the topic."""
    if admin.name == "confluent-kafka":
        pytest.skip("confluent-kafka's AdminClient cannot delete committed offsets")
    name, group = topic(partitions=3), topic_name
    fill(broker, name, partitions=3)
    commit(broker.bootstrap, group, name, {0: 1, 1: 2, 2: 3})
    assert admin.committed(group, name) == {0: 1, 1: 2, 2: 3}
    admin.delete_offsets(group, name, [0, 2])
    assert admin.committed(group, name) == {1: 2}
    member = CONFLUENT.member(broker.bootstrap, name, group)
    try:
        wait_for_members(broker.bootstrap, group, [3])
        with pytest.raises(Refused, match="GROUP_SUBSCRIBED_TO_TOPIC"):
            admin.delete_offsets(group, name, [1])
    finally:
        member.close()


@pytest.mark.parametrize("bad", ["with space", "slash/ed", "x" * 250, "..", ""], ids=["space", "slash", "long", "dots", "empty"])
def test_invalid_topic_name(admin, observer, bad):
    """A name that Kafka does not allow is refused by the protocol's own error, and nothing comes to be."""
    if bad == "" and admin.name in ("java-tools", "confluent-kafka"):
        pytest.skip("this client refuses an empty name itself")
    with pytest.raises(Refused, match="INVALID_TOPIC_EXCEPTION"):
        admin.create_topic(bad)
    assert bad not in observer.list_topics()


def test_topic_exists(admin, topic):
    """Creating a topic twice is refused."""
    name = topic()
    with pytest.raises(Refused, match="TOPIC_ALREADY_EXISTS"):
        admin.create_topic(name)


def test_replication_factor_beyond_the_brokers(admin, observer, topic_name):
    """Three replicas on one broker are refused, and the topic does not come to be."""
    with pytest.raises(Refused, match="INVALID_REPLICATION_FACTOR"):
        admin.create_topic(topic_name, replication=3)
    assert topic_name not in observer.list_topics()


def test_invalid_partition_counts(admin, topic, topic_name):
    """No topic without partitions, and no topic shrinks or 'grows' to what it has."""
    if admin.name not in ("confluent-kafka", "java-tools"):  # those two check it themselves
        with pytest.raises(Refused, match="INVALID_PARTITIONS"):
            admin.create_topic(topic_name, partitions=0)
    name = topic(partitions=3)
    for total in (2, 3):
        with pytest.raises(Refused, match="INVALID_PARTITIONS"):
            admin.create_partitions(name, total)
    assert set(admin.describe_topic(name)) == {0, 1, 2}


@pytest.mark.parametrize(
    "configs",
    [{"retention.ms": "soon"}, {"no.such.config": "1"}, {"cleanup.policy": "burn"}, {"segment.bytes": "-1"}],
    ids=["type", "name", "choice", "range"],
)
def test_invalid_config(admin, observer, topic, topic_name, configs):
    """A config of the wrong type, name, choice or range is refused at creation and at alteration, and changes nothing."""
    with pytest.raises(Refused, match="INVALID_CONFIG"):
        admin.create_topic(topic_name, configs=configs)
    assert topic_name not in observer.list_topics()
    name = topic()
    before = observer.describe_configs(name)
    with pytest.raises(Refused, match="INVALID_CONFIG"):
        admin.alter_configs(name, configs)
    assert observer.describe_configs(name) == before


def test_unknown_topic(admin):
    """Everything that names a topic that is not there says so."""
    nothing = "no-such-topic"
    for operation in (
        lambda: admin.delete_topic(nothing),
        lambda: admin.create_partitions(nothing, 2),
        lambda: admin.describe_configs(nothing),
        lambda: admin.alter_configs(nothing, {"retention.ms": "1000"}),
    ):
        with pytest.raises(Refused, match="UNKNOWN_TOPIC_OR_PARTITION"):
            operation()
