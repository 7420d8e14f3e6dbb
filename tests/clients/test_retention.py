"""Old segments go by size and by time, as their topics say, and by nothing else."""

import pytest

from harness.admins import ConfluentAdmin
from harness.clients import CONFLUENT
from harness.records import T0, Record
from harness.stored import assert_dense, batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until

pytestmark = pytest.mark.retention
SEGMENT_BYTES = 1 << 20  # the smallest that Kafka allows
VALUE_BYTES = 50_000
PATIENCE_S = 120


@pytest.fixture(scope="module")
def checking():
    """A broker that looks for segments to delete twice a second."""
    from harness import paths
    from harness.broker import new_broker

    settings = {"log.retention.check.interval.ms": "500"}
    if paths.AGAINST == "kafka":
        settings["log.initial.task.delay.ms"] = "500"  # else the first look is after 30 s
    broker = new_broker("retention", settings).start()
    yield broker
    broker.check_alive()
    broker.discard()


def fill(broker, topic, mebibytes, timestamp):
    count = (mebibytes << 20) // VALUE_BYTES
    CONFLUENT.produce(
        broker.bootstrap, topic, [Record(value=bytes(VALUE_BYTES), timestamp=timestamp) for _ in range(count)],
        batch_bytes=200_000,
    )  # fmt: skip


def wait_for_start(broker, topic, condition, what):
    wait_until(lambda: condition(offsets(broker, topic)[0]), f"{what}, log start", PATIENCE_S)


def test_by_size(checking):
    """retention.bytes: the start moves up until no whole segment is too much; what remains is dense and readable."""
    create_topic(checking.bootstrap, "by-size", 1, {
        "segment.bytes": str(SEGMENT_BYTES), "retention.bytes": str(3 << 20), "retention.ms": "-1",
    })  # fmt: skip
    fill(checking, "by-size", 8, T0)
    end = offsets(checking, "by-size")[1]

    # Whole segments go while the rest is still retention.bytes or more.
    most = ((3 << 20) + SEGMENT_BYTES) // VALUE_BYTES
    wait_for_start(checking, "by-size", lambda start: end - start <= most, "the log to shrink")
    start = offsets(checking, "by-size")[0]
    found = batches(checking, "by-size")
    assert_dense(found, start, end)
    assert sum(len(b.data) for b in found) >= 3 << 20, "no more was deleted than had to be"
    assert [r.offset for r in CONFLUENT.consume(checking.bootstrap, "by-size", end - start)] == list(range(start, end))


def test_by_time(checking):
    """retention.ms counts from the records' timestamps: old segments go, the young and the active ones stay."""
    create_topic(checking.bootstrap, "by-time", 1, {
        "segment.bytes": str(SEGMENT_BYTES), "retention.ms": "-1",
    })  # fmt: skip
    fill(checking, "by-time", 3, T0 - 24 * 3600 * 1000)
    young = offsets(checking, "by-time")[1]
    fill(checking, "by-time", 3, T0)
    end = offsets(checking, "by-time")[1]
    assert offsets(checking, "by-time")[0] == 0
    # T0 is an hour ago: six hours keep what is from then.
    ConfluentAdmin(checking.bootstrap).alter_configs("by-time", {"retention.ms": str(6 * 3600 * 1000)})
    wait_for_start(checking, "by-time", lambda start: start > 0, "old segments to go")
    # One segment may hold the last old and the first young records; it stays whole.
    per_segment = SEGMENT_BYTES // VALUE_BYTES + 1
    wait_for_start(checking, "by-time", lambda start: start > young - per_segment, "all old segments to go")
    assert offsets(checking, "by-time")[0] <= young
    assert_dense(batches(checking, "by-time"), offsets(checking, "by-time")[0], end)


def test_everything_expired(checking):
    """When even the active segment is too old it is rolled and deleted: the log is empty and offsets go on."""
    create_topic(checking.bootstrap, "expired", 1, {"retention.ms": "1000"})
    fill(checking, "expired", 1, T0)
    end = offsets(checking, "expired")[1]
    wait_for_start(checking, "expired", lambda start: start == end, "everything to go")
    ConfluentAdmin(checking.bootstrap).alter_configs("expired", {"retention.ms": "-1"})
    CONFLUENT.produce(checking.bootstrap, "expired", [Record(value=b"next", timestamp=T0)])
    read = CONFLUENT.consume(checking.bootstrap, "expired", 1)
    assert [(r.offset, r.value) for r in read] == [(end, b"next")]


def test_unlimited_keeps_all(checking):
    """retention.ms=-1 with retention.bytes=-1 keeps what the broker's defaults would delete.

    Runs after the others: the same checks that emptied their logs have been over this one.
    """
    create_topic(checking.bootstrap, "unlimited", 1, {"segment.bytes": str(SEGMENT_BYTES), "retention.ms": "-1"})
    fill(checking, "unlimited", 3, T0 - 400 * 24 * 3600 * 1000)
    create_topic(checking.bootstrap, "canary", 1, {"retention.ms": "1000"})
    fill(checking, "canary", 1, T0)
    wait_for_start(checking, "canary", lambda start: start > 0, "a check to have run")
    start, end = offsets(checking, "unlimited")
    assert start == 0
    assert_dense(batches(checking, "unlimited"), 0, end)
