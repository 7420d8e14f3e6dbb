"""A full disk: produces are refused with KAFKA_STORAGE_ERROR, reads go on, nothing acknowledged is lost, and when there
is space again everything works again. Ringlog only: Kafka takes the whole log directory offline instead.
"""

import contextlib
import os

import pytest
from confluent_kafka import KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic

from harness import paths, wire
from harness.batch import batch
from harness.clients import CONFLUENT
from harness.loopdisk import fill_up, small_disk
from harness.stored import assert_dense, batches
from harness.topics import admin_client, create_topic, offsets
from harness.wait import PATIENCE_S, wait_until
from harness.wire import Connection

pytestmark = [
    pytest.mark.disk_full,
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka takes its log directory offline when the disk is full"),
]
DISK_MIB, RESERVE_MIB = 448, 128
VALUE_BYTES = 200_000
PARTITIONS = 2


@pytest.fixture
def disk():
    with contextlib.ExitStack() as stack:
        try:
            mount = stack.enter_context(small_disk("disk-full", DISK_MIB))
        except OSError as e:
            pytest.skip(f"no loop device: {e}")
        yield mount


def value(partition, n):
    return b"%d:%d:" % (partition, n) + bytes([n % 251]) * VALUE_BYTES


class Writer:
    """Appends records one by one to all partitions and knows what was acknowledged."""

    def __init__(self):
        self.acknowledged = {p: 0 for p in range(PARTITIONS)}

    def one_round(self, connection) -> dict[int, int]:
        """One record to each partition; returns the error codes."""
        errors = {}
        for p in range(PARTITIONS):
            n = self.acknowledged[p]
            error, offset = wire.produce(connection, "t", p, batch([value(p, n)]))
            errors[p] = error
            if error == wire.NONE:
                assert offset == n, f"partition {p}: acknowledged at {offset}, expected {n}"
                self.acknowledged[p] = n + 1
        return errors

    def fill(self, connection):
        """Until no partition takes a record any more; every refusal is KAFKA_STORAGE_ERROR."""
        most = 2 * (DISK_MIB << 20) // VALUE_BYTES
        for _ in range(most):
            errors = set(self.one_round(connection).values())
            assert errors <= {wire.NONE, wire.KAFKA_STORAGE_ERROR}, f"errors {errors}"
            if errors == {wire.KAFKA_STORAGE_ERROR}:
                return
        raise AssertionError(f"{most} rounds of {PARTITIONS * VALUE_BYTES} bytes fitted on {DISK_MIB} MiB")

    def verify(self, broker):
        """All that was acknowledged is there, byte for byte, and nothing else."""
        for p in range(PARTITIONS):
            assert offsets(broker, "t", p) == (0, self.acknowledged[p])
            assert_dense(batches(broker, "t", p), 0, self.acknowledged[p])
        read = CONFLUENT.consume(broker.bootstrap, "t", sum(self.acknowledged.values()))
        assert {(r.partition, r.offset) for r in read if r.value != value(r.partition, r.offset)} == set()


@pytest.fixture
def full(disk, own_broker):
    """A broker whose disk has just run full: (broker, its writer, a function that makes room)."""
    reserve, rest = disk / "reserve", disk / "rest"
    with open(reserve, "wb") as file:
        file.write(bytes(RESERVE_MIB << 20))
    broker = own_broker(data_dir=disk / "data")
    create_topic(broker.bootstrap, "t", PARTITIONS, {"segment.bytes": str(8 << 20), "retention.ms": "-1"})
    writer = Writer()
    with Connection(broker.address) as c:
        writer.fill(c)
        assert min(writer.acknowledged.values()) > 10
        fill_up(rest)  # not even a small record fits any more
        wait_until(lambda: refused(writer, c), "every produce to be refused")

    def make_room():
        reserve.unlink(missing_ok=True)
        rest.unlink(missing_ok=True)

    return broker, writer, make_room


def refused(writer, connection) -> bool:
    return set(writer.one_round(connection).values()) == {wire.KAFKA_STORAGE_ERROR}


def taken(writer, connection) -> bool:
    return set(writer.one_round(connection).values()) == {wire.NONE}


@pytest.mark.timeout(400)
def test_reads_go_on_and_writes_come_back(full):
    """While it is full: alive, refusing, readable. With room again: writing, without a restart; and so a second time."""
    broker, writer, make_room = full
    with Connection(broker.address) as c:
        broker.check_alive()
        writer.verify(broker)
        make_room()
        wait_until(lambda: taken(writer, c), "produces to be taken again")
        writer.verify(broker)
        writer.fill(c)
        writer.verify(broker)
    assert broker.stop() == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["sigterm", "kill9"])
def test_restart_with_room_again(how, full):
    """Ended while it was full, started when there is room: all that was acknowledged is there, and it writes on."""
    broker, writer, make_room = full
    broker.kill9() if how == "kill9" else broker.stop()
    make_room()
    broker.start()
    writer.verify(broker)
    with Connection(broker.address) as c:
        wait_until(lambda: taken(writer, c), "produces to be taken")
    writer.verify(broker)


def free_bytes(broker) -> int:
    stat = os.statvfs(broker.data_dir)
    return stat.f_bavail * stat.f_frsize


def set_retention(broker, value: int):
    resource = ConfigResource(ConfigResource.Type.TOPIC, "t")
    resource.add_incremental_config(ConfigEntry("retention.bytes", str(value), incremental_operation=AlterConfigOpType.SET))
    admin = admin_client(broker.bootstrap)
    admin.incremental_alter_configs([resource])[resource].result(PATIENCE_S)


def assert_room_can_be_made(broker, connection):
    """What frees space is done and nothing else; then all is again."""
    admin = admin_client(broker.bootstrap)
    growing = {
        "a topic": lambda: admin.create_topics([NewTopic("new", 1, 1)])["new"],
        "partitions": lambda: admin.create_partitions([NewPartitions("t", PARTITIONS + 1)])["t"],
    }
    for what, grow in growing.items():
        with pytest.raises(KafkaException) as refused:
            grow().result(PATIENCE_S)
        assert refused.value.args[0].code() == KafkaError.KAFKA_STORAGE_ERROR, f"{what}: {refused.value}"
        assert "delete records or topics" in refused.value.args[0].str(), refused.value
    set_retention(broker, 64 << 20)
    with pytest.raises(KafkaException):
        set_retention(broker, 65 << 20)
    [deleted] = admin.delete_records([TopicPartition("t", 0, 3)]).values()
    assert deleted.result(PATIENCE_S).low_watermark == 3
    admin.delete_topics(["t"])["t"].result(PATIENCE_S)
    wait_until(lambda: free_bytes(broker) > 64 << 20, "the topic's files to go")
    create_topic(broker.bootstrap, "u")
    assert wire.produce(connection, "u", 0, batch([b"x"])) == (wire.NONE, 0)


@pytest.mark.timeout(400)
def test_room_is_made_through_the_broker(full):
    broker, _, _ = full
    assert free_bytes(broker) < 1 << 20
    with Connection(broker.address) as c:
        assert_room_can_be_made(broker, c)
    assert broker.stop() == 0


@pytest.mark.timeout(400)
@pytest.mark.parametrize("how", ["sigterm", "kill9"])
def test_restart_while_full(how, full):
    """Ended and started while not a byte is free: what was acknowledged can be read, and room can be made."""
    broker, writer, _ = full
    broker.kill9() if how == "kill9" else broker.stop()
    fill_up(broker.data_dir.parent / "what-the-end-left")
    assert free_bytes(broker) < 1 << 20
    broker.start()
    assert ("too full to begin a journal" in broker.log_text()) == (how == "sigterm")
    writer.verify(broker)
    with Connection(broker.address) as c:
        assert_room_can_be_made(broker, c)


@pytest.mark.timeout(400)
def test_first_start_on_a_full_disk_says_what_to_do(disk, own_broker):
    fill_up(disk / "rest")
    broker = own_broker(data_dir=disk / "data", start=False)
    broker.spawn()
    assert broker._reap() == 1
    log = broker.log_text()
    assert f"the disk with {disk}" in log and "bytes are free" in log and "make room" in log, log
