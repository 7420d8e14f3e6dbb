"""A broker that may not use more memory than its settings allow, under what would make it.

Each test puts the broker into a control group with a limit a little above the sum of its settings, where the kernel kills
what goes beyond, and lets many clients do together what costs memory while a well-behaved one goes on.
"""

import collections
import contextlib
import resource
import selectors
import socket
import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import batch, memory_limit, metrics, paths, wire
from harness.topics import create_topic
from harness.wait import wait_until

pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST == "kafka", reason="limits of Ringlog's own"),
]

MIB = 1 << 20
LIMITS = {
    "--shard-request-bytes-max": 256 * MIB,
    "--shard-response-bytes-max": 64 * MIB,
    "--shard-tail-cache-bytes-max": 16 * MIB,
    "--shard-read-ahead-bytes-max": 8 * MIB,
    "--shard-journal-bytes-max": 4 * MIB,
}
# What goes beyond them (a request of 100 MiB on its way, one at work), what structures, connections and write buffers take
# beside, and what the allocator keeps for later.
BESIDE = 400 * MIB
# What a broker has open beside connections and logs of the wide topics: logs of topic `t`, and some of its own.
BESIDE_FILES = 500
# What an open log takes.
LOG = 16 << 10
PARTITIONS = 100


@pytest.fixture(params=[0])
def limited(own_broker, request):
    """A broker of one shard in its control group, with topic `t` of 100 partitions; and the group.

    The parameter is how many partitions there are beside, in topics of a thousand.
    """
    try:
        memory_limit.available()
    except OSError as reason:
        pytest.skip(str(reason))
    flags = [part for name, limit in LIMITS.items() for part in (name, str(limit))]
    broker = own_broker({"max.connections.per.ip": "20000"}, shards=1, flags=flags)
    create_topic(broker.bootstrap, "t", PARTITIONS)
    for i in range(request.param // 1000):
        create_topic(broker.bootstrap, f"wide-{i}", 1000)
    limit = sum(LIMITS.values()) + BESIDE + LOG * request.param
    with memory_limit.memory_limit(broker.pid, limit) as group:
        yield broker, group
        assert group.kills() == 0, f"killed for its memory; its log ends:\n{broker.log_tail()}"
        broker.check_alive()
        assert "panicked at" not in broker.log_text()
        print(f"\npeak: {group.peak_bytes() / MIB:.0f} MiB of {limit / MIB:.0f} MiB")


class Crowd:
    """Many sockets that send what they are given as far as the broker takes it, and read nothing, in a thread."""

    def __init__(self, address, messages, group):
        self.selector = selectors.DefaultSelector()
        self.sockets = []
        for message in messages:
            s = socket.socket()
            # Little waits in the kernel: what the broker does not take in is told apart by that.
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
            s.connect(address)
            s.setblocking(False)
            self.sockets.append(s)
            self.selector.register(s, selectors.EVENT_WRITE, [memoryview(message), 0])
        self.group = group
        self.sent_bytes, self.refused, self.ended = 0, 0, False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        while not self.ended and self.selector.get_map():
            for key, _ in self.selector.select(0.1):
                message, at = key.data
                try:
                    sent = key.fileobj.send(message[at : at + (1 << 18)])
                except BlockingIOError:
                    continue
                except OSError:
                    self.refused += 1
                    self.selector.unregister(key.fileobj)
                    continue
                key.data[1] += sent
                self.sent_bytes += sent
                if key.data[1] == len(message):
                    self.selector.unregister(key.fileobj)

    def settled(self):
        """For two seconds the broker has taken in no more of what they send, and has used no more memory than before."""
        before = self.sent_bytes, self.group.peak_bytes()
        time.sleep(2.0)
        return (self.sent_bytes, self.group.peak_bytes()) == before

    def close(self):
        self.ended = True
        self.thread.join()
        for s in self.sockets:
            s.close()


@contextlib.contextmanager
def crowd(limited, messages):
    broker, group = limited
    gathered = Crowd(broker.address, messages, group)
    try:
        yield gathered
    finally:
        gathered.close()


def frame(api_key, version, body, correlation_id=1):
    return wire.frame(wire.header(api_key, version, correlation_id) + body)


def round_trip(broker, partition=0, timeout_s=60.0):
    """A record is produced and read back."""
    with wire.Connection(broker.address, timeout_s=timeout_s) as c:
        error, offset = wire.produce(c, "t", partition, batch.batch([b"well-behaved"]))
        assert error == wire.NONE
        error, _, data = wire.fetch(c, "t", partition, offset, max_bytes=MIB)
        assert error == wire.NONE and b"well-behaved" in data


def test_half_sent_small_requests(limited):
    """Each of 9,000 connections has sent nearly all of a request of 64,000 bytes."""
    broker, _ = limited
    half = struct.pack(">i", 64_000) + b"\0" * 63_000
    with crowd(limited, [half] * 9_000) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in")
        round_trip(broker)
    round_trip(broker)


def produce_of(partitions, batch_bytes, version=7, acks=-1):
    batches = {p: batch.batch([b"x" * batch_bytes]) for p in partitions}
    topic = wire.string("t") + wire.array([wire.int32(p) + wire.nullable_bytes(b) for p, b in batches.items()])
    body = wire.string(None) + wire.int16(acks) + wire.int32(30_000) + wire.array([topic])
    return frame(wire.PRODUCE, version, body)


def produce_of_nothing(partitions):
    """The same partition again and again, without records: little on the wire."""
    topic = wire.string("t") + wire.int32(partitions) + (wire.int32(7) + wire.nullable_bytes(b"")) * partitions
    return frame(wire.PRODUCE, 7, wire.string(None) + wire.int16(1) + wire.int32(30_000) + wire.array([topic]))


def test_requests_of_almost_100_mib(limited):
    """40 connections send two requests each of 100 partitions and nearly 100 MiB."""
    broker, _ = limited
    request = produce_of(range(PARTITIONS), 1_000_000)
    assert 95 * MIB < len(request) < 100 * MIB
    with crowd(limited, [request + request] * 40) as gathered:
        round_trip(broker)
        wait_until(gathered.settled, "nothing more to be taken in", timeout_s=300)
        assert gathered.refused == 0
    round_trip(broker)


def test_producers_are_told_that_they_were_held_up(limited):
    """Six connections send requests of nearly 100 MiB at once, of which two may be on their way: some answer says so."""
    broker, _ = limited
    request = produce_of(range(PARTITIONS), 1_000_000)

    def throttled_ms(_):
        with wire.Connection(broker.address, timeout_s=120.0) as c:
            c.send(request)
            r = wire.Reader(c.receive())
            assert r.int32() == 1, "the correlation id"
            assert {error for error, _ in wire.read_produce(r).values()} == {wire.NONE}
            return r.int32()

    with ThreadPoolExecutor(6) as pool:
        told = list(pool.map(throttled_ms, range(6)))
    assert 0 < max(told) <= 1_000, told
    with wire.Connection(broker.address) as c:
        assert wire.produce(c, "t", 0, batch.batch([b"alone"]))[0] == wire.NONE


def test_requests_that_grow_when_they_are_decoded(limited):
    """Each of 60 connections has 10 requests of 200,000 partitions, 14 bytes each, under way."""
    broker, _ = limited
    request = produce_of_nothing(200_000)
    with crowd(limited, [request * 10] * 60) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in", timeout_s=300)
        round_trip(broker)
    round_trip(broker)


def test_large_answers_that_nobody_reads(limited):
    """Each of 200 connections asks 100 times for the metadata of 2,000 partitions, and reads no answer."""
    broker, group = limited
    for i in range(4):
        create_topic(broker.bootstrap, f"many-{i}", 500)
    request = frame(wire.METADATA, 1, wire.int32(-1))
    with crowd(limited, [request * 100] * 200) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in", timeout_s=300)
        round_trip(broker)
    round_trip(broker)
    # Where answers are not held back it is 580 MiB.
    assert group.peak_bytes() < 230 * MIB


@pytest.mark.parametrize("max_bytes", [MIB, 1])
def test_records_that_nobody_reads(limited, max_bytes):
    """1,500 connections fetch a batch of 1 MB each, of partitions too many to be in memory, and read no answer. A batch comes
    whole, however little they say that they take."""
    broker, group = limited
    with wire.Connection(broker.address) as c:
        for p in range(PARTITIONS):
            assert wire.produce(c, "t", p, batch.batch([b"x" * 1_000_000]))[0] == wire.NONE
    requests = [
        frame(wire.FETCH, 4, wire.fetch_body("t", i % PARTITIONS, 0, max_wait_ms=500, max_bytes=max_bytes)) for i in range(1_500)
    ]
    with crowd(limited, requests) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in")
        round_trip(broker)
    round_trip(broker)
    # Twice the limit of answers, and what else there is; what they ask for is eight times that.
    assert group.peak_bytes() < 180 * MIB


def test_large_batches_that_nobody_reads(limited):
    """60 connections fetch a batch of 30 MB each, of a topic that allows such, say that they take 1 MiB, and read no answer."""
    broker, group = limited
    create_topic(broker.bootstrap, "large", 8, {"max.message.bytes": str(40 * MIB)})
    with wire.Connection(broker.address) as c:
        for p in range(8):
            assert wire.produce(c, "large", p, batch.batch([b"x" * 30_000_000]))[0] == wire.NONE
    requests = [frame(wire.FETCH, 4, wire.fetch_body("large", i % 8, 0, max_wait_ms=500, max_bytes=MIB)) for i in range(60)]
    with crowd(limited, requests) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in")
        round_trip(broker)
    round_trip(broker)
    with wire.Connection(broker.address) as c:
        fetched = wait_until(lambda: (f := wire.fetch(c, "large", 3, 0, max_bytes=MIB))[2] and f, "room for a batch again")
    assert fetched[0] == wire.NONE and len(fetched[2]) > 30_000_000
    # A sixth of what they ask for.
    assert group.peak_bytes() < 350 * MIB


def test_answers_without_records_that_nobody_reads(limited):
    """Each of 200 connections fetches 200,000 partitions that there are not, and reads no answer: that has 6 MB of errors."""
    broker, _ = limited
    body = wire.fetch_many_body("none", dict.fromkeys(range(200_000), 0), max_bytes=MIB)
    with crowd(limited, [frame(wire.FETCH, 4, body)] * 200) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in", timeout_s=300)
        round_trip(broker)
    # All answers together have 1,200 MB, which would be beyond the control group's limit.
    round_trip(broker)


class SlowReaders:
    """Sockets that send a request each and read the answers with so many bytes a second, in a thread."""

    TICK_S = 0.05

    def __init__(self, address, request, sockets, rate):
        self.rate, self.sockets = rate, []
        for _ in range(sockets):
            s = socket.socket()
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            s.connect(address)
            s.sendall(request)
            s.setblocking(False)
            self.sockets.append(s)
        self.read_bytes, self.ended, self.broken = collections.Counter(), set(), False
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        began = time.monotonic()
        while not self.broken:
            # From the beginning on, so that a machine that was busy for a while makes nobody slower.
            may_have_read = int(self.rate * (time.monotonic() - began)) + 1
            for at, s in enumerate(self.sockets):
                if at not in self.ended and self.read_bytes[at] < may_have_read:
                    self._read(at, s, may_have_read - self.read_bytes[at])
            time.sleep(self.TICK_S)

    def _read(self, at, s, bytes_max):
        try:
            read = len(s.recv(min(bytes_max, MIB)))
        except BlockingIOError:
            return
        except OSError:
            read = 0
        self.read_bytes[at] += read
        if not read:
            self.ended.add(at)

    def close(self):
        self.broken = True
        self.thread.join()
        for s in self.sockets:
            s.close()


@contextlib.contextmanager
def slow_readers(broker, sockets, rate, requests=1, held=32 * MIB):
    """That fetch all partitions, of each a megabyte, so many times one behind the other, and hold so much of the room."""
    with wire.Connection(broker.address) as c:
        for p in range(PARTITIONS):
            assert wire.produce(c, "t", p, batch.batch([b"x" * 1_000_000]))[0] == wire.NONE
    body = wire.fetch_many_body("t", dict.fromkeys(range(PARTITIONS), 0), max_bytes=50 * MIB, max_wait_ms=60_000)
    readers = SlowReaders(broker.address, frame(wire.FETCH, 4, body) * requests, sockets, rate)
    try:
        wait_until(lambda: responses_held(broker) > held, "slow readers to hold most of what answers may take")
        yield readers
    finally:
        readers.close()


def responses_held(broker):
    return metrics.scrape(broker).sum("ringlog_memory_budget_used_bytes", budget="responses")


def cut_off(broker, reason):
    return metrics.scrape(broker).sum("ringlog_connections_closed_total", reason=reason)


def fetch_a_megabyte(broker, max_wait_ms=1000):
    """A fetch too large for what is kept for small ones; the client asks again as long as it is told that there is nothing."""
    with wire.Connection(broker.address, timeout_s=60.0) as c:

        def fetched():
            error, _, data = wire.fetch(c, "t", 0, 0, max_wait_ms=max_wait_ms, max_bytes=MIB)
            assert error == wire.NONE
            return len(data)

        assert wait_until(fetched, "a megabyte") > 1_000_000


def test_slow_consumers_hold_up_nobody_for_long(limited):
    """20 consumers have fetched all that they may and read it slowly, though not too slowly to be borne with: what they have
    read is room for others."""
    broker, _ = limited
    with slow_readers(broker, 20, 112 << 10, requests=20) as readers:
        for _ in range(3):
            fetch_a_megabyte(broker)
        assert not readers.ended and cut_off(broker, "stalled_response") == 0
    round_trip(broker)


def test_a_batch_that_there_is_no_room_for_holds_up_nothing_else(limited):
    """While slow consumers have most of the room a fetch that begins with a batch of 40 MB gets what comes after it, long before
    its wait is over; with room it gets the batch."""
    broker, _ = limited
    create_topic(broker.bootstrap, "large", 2, {"max.message.bytes": str(50 * MIB)})
    body = wire.fetch_many_body("large", {0: 0, 1: 0}, max_bytes=50 * MIB, max_wait_ms=60_000)
    with wire.Connection(broker.address, timeout_s=30.0) as c:
        assert wire.produce(c, "large", 0, batch.batch([b"x" * 40_000_000]))[0] == wire.NONE
        assert wire.produce(c, "large", 1, batch.batch([b"small"]))[0] == wire.NONE
        with slow_readers(broker, sockets=4, rate=128 << 10, held=16 * MIB):
            got = wire.read_fetch_many(c.request(wire.FETCH, 4, body))
            assert got[0] == (wire.NONE, 1, b"") and b"small" in got[1][2]
            fetch_a_megabyte(broker)

        def large():
            return len(wire.read_fetch_many(c.request(wire.FETCH, 4, body))[0][2]) > 40_000_000

        wait_until(large, "room for the batch")


def test_consumers_too_slow_are_cut_off_while_others_wait(limited):
    """60 consumers want more than the kernel and the broker have room for, and read so slowly that those behind would wait for
    minutes."""
    broker, _ = limited
    with slow_readers(broker, 60, 16 << 10, requests=20):
        wait_until(lambda: cut_off(broker, "stalled_response") >= 5, "those that hold most to be cut off")
        fetch_a_megabyte(broker, max_wait_ms=60_000)
    assert "while others waited for the memory that it holds" in broker.log_text()
    round_trip(broker)


def test_half_sent_requests_that_get_on_are_waited_for(limited):
    """Two requests of 60 MB, of which only the beginnings have come, leave no room for others on their way. Of one a byte comes
    now and then: it is cut off. The other gets on, and is answered."""
    broker, _ = limited
    large = produce_of(range(60), 1_000_000)
    with contextlib.ExitStack() as stack:
        trickling, getting_on, waiting = (stack.enter_context(wire.Connection(broker.address, 120.0)) for _ in range(3))
        for c in (trickling, getting_on):
            c.send(large[:MIB])
        sent = {trickling: MIB, getting_on: MIB}
        arriving = lambda: metrics.scrape(broker).sum("ringlog_memory_budget_used_bytes", budget="arriving")  # noqa: E731
        wait_until(lambda: arriving() >= 2 * len(large), "both to be on their way")
        waiting.send(produce_of([0], 1_000_000))

        def send_more():
            for c, bytes_more in ((trickling, 1), (getting_on, 256 << 10)):
                with contextlib.suppress(wire.Closed):
                    c.send(large[sent[c] : sent[c] + bytes_more])
                    sent[c] += bytes_more
            return cut_off(broker, "stalled_request")

        wait_until(send_more, "the one to be cut off", poll_s=0.2)
        assert wire.read_produce(answer_of(waiting))[0][0] == wire.NONE
        getting_on.send(large[sent[getting_on] :])
        assert {error for error, _ in wire.read_produce(answer_of(getting_on)).values()} == {wire.NONE}
        trickling.expect_close()
        assert cut_off(broker, "stalled_request") == 1
    assert "while others waited for the memory kept for it" in broker.log_text()


def answer_of(connection):
    r = wire.Reader(connection.receive())
    assert r.int32() == 1, "the correlation id"
    return r


def test_a_fetch_that_waits_keeps_little(limited):
    """Ten requests that each have a long client id, and name a partition 2,000 times."""
    broker, _ = limited
    body = wire.int32(-1) + wire.int32(300_000) + wire.int32(1) + wire.int32(MIB) + wire.int8(0)
    body += wire.array([wire.string("t") + wire.array([wire.int32(99) + wire.int64(0) + wire.int32(MIB)] * 2_000)])
    request = wire.frame(wire.header(wire.FETCH, 4, 1, client_id="c" * 30_000) + body)

    def kept():
        page = metrics.scrape(broker)
        waiting, kept = page.sum("ringlog_waiting_fetches"), page.sum("ringlog_memory_budget_used_bytes", budget="requests")
        return waiting == 10 and kept

    with crowd(limited, [request] * 10):
        used = wait_until(kept, "all to wait")
        # As requests they were 30,000 bytes of client id, and 16 bytes and what they become for each of the names.
        assert used < 10 * 2_000 * 128


def test_connections_that_break_off_leave_nothing(limited):
    """60 connections are reset while a fetch of theirs waits, and behind it a produce of 20,000 partitions is done: together
    more than requests may take, so that nothing large would be taken in any more if it stayed."""
    broker, _ = limited
    waiting = frame(wire.FETCH, 4, wire.fetch_body("t", 99, 0, max_wait_ms=300_000, max_bytes=MIB))
    produce = produce_of_nothing(20_000)
    for _ in range(4):
        with crowd(limited, [waiting + produce] * 15) as gathered:
            wait_until(gathered.settled, "all to be taken in")
            for s in gathered.sockets:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with wire.Connection(broker.address) as c:
        assert wire.produce(c, "t", 0, batch.batch([b"x" * 1_000_000]))[0] == wire.NONE
    round_trip(broker)


@pytest.mark.parametrize("limited", [10_000], indirect=True)
def test_all_of_it_at_once(limited):
    """10,000 partitions, as many connections that wait for records of them and have sent half of a request, and 20 that send
    requests of nearly 100 MiB; a few connections less where a process may not have so many files."""
    broker, _ = limited
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    connections = min(10_000, files - 10_000 - BESIDE_FILES)
    half = struct.pack(">i", 64_000) + b"\0" * 30_000
    waiting = [
        frame(wire.FETCH, 4, wire.fetch_body(f"wide-{i // 1000}", i % 1000, 0, max_wait_ms=300_000, max_bytes=MIB)) + half
        for i in range(connections)
    ]
    large = produce_of(range(PARTITIONS), 1_000_000)
    with crowd(limited, waiting), crowd(limited, [large + large] * 20) as gathered:
        wait_until(gathered.settled, "nothing more to be taken in", timeout_s=300)
        round_trip(broker)
    round_trip(broker)
