"""Idempotent producers on the wire: ids, sequence numbers, duplicates and epochs, as KIP-98 and Kafka 4.3 have them."""

import pytest

from harness import wire
from harness.batch import batch
from harness.stored import assert_dense, batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until
from harness.wire import Connection, int32, string

pytestmark = pytest.mark.protocol
OUT_OF_ORDER_SEQUENCE_NUMBER, INVALID_PRODUCER_EPOCH = 45, 47


def producer_id(connection) -> tuple[int, int]:
    """InitProducerId v1 without a transactional id: (id, epoch)."""

    def granted():
        r = connection.request(wire.INIT_PRODUCER_ID, 1, string(None) + int32(60_000))
        r.int32()  # throttle time
        error = r.int16()
        # A coordinator that is only just starting; clients ask again.
        assert error in (wire.NONE, 14, 15, 16), f"InitProducerId: error {error}"
        return (r.int64(), r.int16()) if error == wire.NONE else None

    return wait_until(granted, "a producer id")


@pytest.fixture
def connection(broker):
    with Connection(broker.address) as c:
        yield c


def numbered(pid, sequence, count=1, epoch=0, text=b"v"):
    values = [b"%s%d" % (text, sequence + i) for i in range(count)]
    return batch(values, producer_id=pid, producer_epoch=epoch, base_sequence=sequence)


def test_ids_are_never_given_twice(broker):
    """Over many connections every producer gets an id of its own, with epoch 0."""
    ids = []
    for _ in range(20):
        with Connection(broker.address) as c:
            ids += [producer_id(c) for _ in range(5)]
    assert len({pid for pid, _ in ids}) == 100
    assert {epoch for _, epoch in ids} == {0}


def test_ids_are_never_given_twice_over_kills(own_broker):
    """Neither does a broker that was killed and started again give an id that it gave before."""
    broker = own_broker()
    ids = []
    for _ in range(3):
        with Connection(broker.address) as c:
            ids += [producer_id(c)[0] for _ in range(10)]
        broker.kill9()
        broker.start()
    assert len(set(ids)) == len(ids)


def test_duplicate_batches_are_answered_and_not_stored(broker, topic, connection):
    """Each of the last five batches may be sent again: its first answer comes back, and nothing is written."""
    name = topic()
    pid, _ = producer_id(connection)
    sent = [numbered(pid, sequence, count=2) for sequence in range(0, 10, 2)]
    first = [wire.produce(connection, name, 0, b) for b in sent]
    assert first == [(wire.NONE, 2 * i) for i in range(5)]
    for b, answer in zip(sent * 2, first * 2):
        assert wire.produce(connection, name, 0, b) == answer
    assert offsets(broker, name) == (0, 10)
    assert_dense(batches(broker, name), 0, 10)


def test_gaps_in_the_sequence_are_refused(broker, topic, connection):
    """A sequence number that is not the next is OUT_OF_ORDER_SEQUENCE_NUMBER; the right one still passes."""
    name = topic()
    pid, _ = producer_id(connection)
    assert wire.produce(connection, name, 0, numbered(pid, 0, 3)) == (wire.NONE, 0)
    for wrong in (4, 1000, 2**31 - 1):
        assert wire.produce(connection, name, 0, numbered(pid, wrong))[0] == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert wire.produce(connection, name, 0, numbered(pid, 3)) == (wire.NONE, 3)
    assert offsets(broker, name) == (0, 4)


def test_sequences_are_per_partition_and_producer(broker, topic, connection):
    """Every producer counts from 0 in every partition."""
    name = topic(partitions=2)
    pids = [producer_id(connection)[0] for _ in range(3)]
    for sequence in range(3):
        for partition in range(2):
            for pid in pids:
                assert wire.produce(connection, name, partition, numbered(pid, sequence))[0] == wire.NONE
    assert [offsets(broker, name, p) for p in range(2)] == [(0, 9), (0, 9)]


def test_epochs(broker, topic, connection):
    """A new epoch starts again at 0, and batches of the old one are INVALID_PRODUCER_EPOCH from then on."""
    name = topic()
    pid, _ = producer_id(connection)
    assert wire.produce(connection, name, 0, numbered(pid, 0, 2)) == (wire.NONE, 0)
    assert wire.produce(connection, name, 0, numbered(pid, 5, epoch=1))[0] == OUT_OF_ORDER_SEQUENCE_NUMBER
    assert wire.produce(connection, name, 0, numbered(pid, 0, epoch=1)) == (wire.NONE, 2)
    assert wire.produce(connection, name, 0, numbered(pid, 2, epoch=0))[0] == INVALID_PRODUCER_EPOCH
    assert wire.produce(connection, name, 0, numbered(pid, 1, epoch=1)) == (wire.NONE, 3)
    assert offsets(broker, name) == (0, 4)


def test_sequence_wraps_around(broker, topic, connection):
    """After 2^31-1 comes 0."""
    name = topic()
    pid, _ = producer_id(connection)
    # A producer that the partition does not know may start anywhere.
    assert wire.produce(connection, name, 0, numbered(pid, 2**31 - 2, 2)) == (wire.NONE, 0)
    assert wire.produce(connection, name, 0, numbered(pid, 0)) == (wire.NONE, 2)
    assert wire.produce(connection, name, 0, numbered(pid, 1)) == (wire.NONE, 3)


@pytest.mark.parametrize("how", ["sigterm", "kill9"])
def test_producer_state_survives(how, own_broker):
    """After a restart duplicates are still known, gaps still refused, old epochs still fenced."""
    broker = own_broker()
    create_topic(broker.bootstrap, "t")
    with Connection(broker.address) as c:
        pid, _ = producer_id(c)
        fenced, _ = producer_id(c)
        for sequence in range(3):
            assert wire.produce(c, "t", 0, numbered(pid, sequence)) == (wire.NONE, sequence)
        assert wire.produce(c, "t", 0, numbered(fenced, 0, epoch=1)) == (wire.NONE, 3)
    broker.kill9() if how == "kill9" else broker.stop()
    broker.start()
    with Connection(broker.address) as c:
        assert wire.produce(c, "t", 0, numbered(pid, 2)) == (wire.NONE, 2), "a duplicate of before"
        assert wire.produce(c, "t", 0, numbered(pid, 7))[0] == OUT_OF_ORDER_SEQUENCE_NUMBER
        assert wire.produce(c, "t", 0, numbered(fenced, 1, epoch=0))[0] == INVALID_PRODUCER_EPOCH
        assert wire.produce(c, "t", 0, numbered(pid, 3)) == (wire.NONE, 4)
    assert offsets(broker, "t") == (0, 5)
