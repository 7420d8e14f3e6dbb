"""Fetches that wait: answered when data comes, not when the wait is over, and not before there is enough."""

import threading
import time

import pytest

from harness import wire
from harness.batch import batch
from harness.stored import batches
from harness.topics import create_topic

pytestmark = pytest.mark.offsets
MAX_WAIT_MS = 60_000  # far beyond what any of these may take; a broker that sleeps it out fails the socket's timeout


def waiting_fetch(broker, topic, offset=0, min_bytes=1):
    """A connection with a fetch that nothing can answer yet."""
    c = wire.Connection(broker.address, timeout_s=MAX_WAIT_MS / 2000)
    c.post(wire.FETCH, 4, wire.fetch_body(topic, 0, offset, MAX_WAIT_MS, min_bytes))
    return c


def is_silent(connection, seconds=0.3) -> bool:
    """Nothing has been answered by now (it can only miss a broker that answers too early, never fail a right one)."""
    previous = connection.sock.gettimeout()
    connection.sock.settimeout(seconds)
    try:
        connection.sock.recv(1)
        return False
    except TimeoutError:
        return True
    finally:
        connection.sock.settimeout(previous)


def answer(connection):
    r = wire.Reader(connection.receive())
    r.int32()  # correlation id
    return wire.read_fetch(r)


def test_woken_by_an_append(broker, topic):
    """A fetch at the end of the log returns with the very record that is appended."""
    name = topic()
    with waiting_fetch(broker, name) as c, wire.Connection(broker.address) as p:
        assert is_silent(c)
        started = time.monotonic()
        assert wire.produce(p, name, 0, batch([b"wake"])) == (wire.NONE, 0)
        error, high_watermark, data = answer(c)
        assert time.monotonic() - started < MAX_WAIT_MS / 2000
        assert (error, high_watermark) == (wire.NONE, 1)
        assert data == batches(broker, name)[0].data


def test_waits_for_min_bytes(broker, topic):
    """A small append does not end a fetch that wants more; it ends when there is enough, with all of it."""
    name = topic()
    with waiting_fetch(broker, name, min_bytes=50_000) as c, wire.Connection(broker.address) as p:
        wire.produce(p, name, 0, batch([b"x" * 100]))
        assert is_silent(c)
        wire.produce(p, name, 0, batch([b"y" * 60_000]))
        error, high_watermark, data = answer(c)
        assert (error, high_watermark) == (wire.NONE, 2)
        assert data == b"".join(b.data for b in batches(broker, name))


def test_returns_empty_when_the_wait_is_over(broker, topic):
    """With nothing to return, a fetch is answered after its own max wait, empty and without error."""
    name = topic()
    with wire.Connection(broker.address) as c:
        started = time.monotonic()
        assert wire.fetch(c, name, 0, 0, max_wait_ms=400) == (wire.NONE, 0, b"")
        assert time.monotonic() - started >= 0.39


def test_error_does_not_wait(broker, topic):
    """An error is told at once, whatever the max wait."""
    name = topic()
    with waiting_fetch(broker, name, offset=99) as c:
        assert answer(c)[0] == wire.OFFSET_OUT_OF_RANGE


def test_many_waiters_all_wake(broker, topic):
    """Fifty fetches on one partition are all woken by one append."""
    name = topic()
    waiters = [waiting_fetch(broker, name) for _ in range(50)]
    try:
        with wire.Connection(broker.address) as p:
            wire.produce(p, name, 0, batch([b"for all"]))
        for c in waiters:
            assert answer(c)[:2] == (wire.NONE, 1)
    finally:
        for c in waiters:
            c.close()


def test_waiter_that_leaves_harms_nobody(broker, topic):
    """Connections closed while their fetch waits: the next append and fetch work as ever."""
    name = topic()
    for _ in range(20):
        waiting_fetch(broker, name).close()
    with wire.Connection(broker.address) as p:
        assert wire.produce(p, name, 0, batch([b"v"])) == (wire.NONE, 0)
        assert wire.fetch(p, name, 0, 0)[1] == 1


def test_deleting_the_topic_ends_the_wait(broker, topic):
    """A fetch on a topic that is deleted meanwhile is answered, not left to sleep out its wait."""
    from harness.topics import delete_topic

    name = topic()
    with waiting_fetch(broker, name) as c:
        assert is_silent(c)
        threading.Thread(target=delete_topic, args=(broker.bootstrap, name)).start()
        assert answer(c)[0] in (wire.UNKNOWN_TOPIC_OR_PARTITION, wire.NOT_LEADER_OR_FOLLOWER)


def test_the_first_partition_gives_its_batch_however_large(own_broker):
    """Whatever others have: a batch of 5 MB comes to who takes 1 MiB of each partition, when it is the first (KIP-74)."""
    broker = own_broker(shards=2)
    create_topic(broker.bootstrap, "mixed", 8, {"max.message.bytes": "8000000"})
    large, small = batch([b"x" * 5_000_000]), batch([b"y" * 1000])
    with wire.Connection(broker.address) as c:
        for partition in range(8):
            assert wire.produce(c, "mixed", partition, large if partition < 4 else small)[0] == wire.NONE
        # Of these pairs some are of partitions on different shards.
        for first in range(4):
            for other in range(4, 8):
                body = wire.fetch_many_body("mixed", {first: 0, other: 0}, max_bytes=50 << 20)
                got = wire.read_fetch_many(c.request(wire.FETCH, 4, body))
                assert len(got[first][2]) == len(large), (first, other)


def test_a_partition_that_is_named_twice_is_answered_once(broker, topic):
    """As it was named last."""
    name = topic()
    with wire.Connection(broker.address) as c:
        wire.produce(c, name, 0, batch([b"first"]))
        wire.produce(c, name, 0, batch([b"second"]))
        partitions = wire.array([wire.int32(0) + wire.int64(offset) + wire.int32(1 << 20) for offset in (0, 2, 1)])
        head = wire.int32(-1) + wire.int32(500) + wire.int32(1) + wire.int32(1 << 20) + wire.int8(0)
        answers = wire.read_fetch_list(c.request(wire.FETCH, 4, head + wire.array([wire.string(name) + partitions])))
        assert len(answers) == 1, answers
        error, _, data = answers[0][1]
        assert error == wire.NONE and b"second" in data and b"first" not in data
