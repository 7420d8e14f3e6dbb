"""Bytes that no client library sends: the connection gets the protocol's error or is closed, and the broker goes on.

Every expectation here is what Apache Kafka 4.3 does, but for the few tests that say otherwise. After each test a new
connection and one that was open all along must still be served.
"""

import gzip
import random
import struct

import pytest

from harness import paths, wire
from harness.batch import batch, message_set, record
from harness.records import T0
from harness.stored import assert_dense, batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until
from harness.wire import (
    API_VERSIONS,
    FETCH,
    LIST_OFFSETS,
    METADATA,
    PRODUCE,
    Closed,
    Connection,
    array,
    compact_string,
    frame,
    header,
    int8,
    int16,
    int32,
    int64,
    string,
    uvarint,
)

pytestmark = pytest.mark.protocol
ringlog_only = pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka does this worse, see the test")
HUGE = int32(2**31 - 1)


@pytest.fixture(scope="module")
def _bystander(_shared):
    """A connection that is open all along, and a topic to use it on."""
    broker = _shared.get()
    create_topic(broker.bootstrap, f"bystander-{broker.pid}")
    with Connection(broker.address) as connection:
        yield broker, connection, f"bystander-{broker.pid}"


@pytest.fixture(autouse=True)
def _others_are_served(broker, _bystander):
    """After each test: the broker lives, serves new connections, and the bystander's."""
    yield
    broker.check_alive()
    running, connection, name = _bystander
    assert running is broker, "the broker had to be replaced meanwhile"
    with Connection(broker.address) as fresh:
        for c in (connection, fresh):
            error, offset = wire.produce(c, name, 0, batch([b"still here"]))
            assert error == wire.NONE
            error, high_watermark, data = wire.fetch(c, name, 0, offset)
            assert (error, high_watermark) == (wire.NONE, offset + 1) and b"still here" in data


@pytest.fixture
def connection(broker):
    with Connection(broker.address) as c:
        yield c


# --- Below the level of requests


RANDOM = random.Random(20_240)
GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "tls": bytes.fromhex("16030100c8010000c40303") + RANDOM.randbytes(189),
    "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "ones": b"\xff" * 1000,
    "zeros": bytes(1000),
    "random": RANDOM.randbytes(10_000),
    "newlines": b"\r\n" * 100,
    "frame-of-garbage": frame(RANDOM.randbytes(500)),
    "frame-of-zeros": frame(bytes(500)),
    "frame-of-ones": frame(b"\xff" * 500),
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_garbage_closes_the_connection(kind, connection):
    """What is no Kafka request ends the connection, at the latest when the sender has said all it has."""
    try:
        connection.send(GARBAGE[kind])
        connection.sock.shutdown(1)
    except (Closed, OSError):
        pass  # closed while we were still sending
    connection.expect_close()


@pytest.mark.parametrize("length", [-1, -(2**31), 0, 1, 7, 2**31 - 1, (100 << 20) + 1], ids=str)
def test_absurd_length_closes_the_connection(length, connection):
    """A length that is negative, too small for a header, or above socket.request.max.bytes is not waited for."""
    connection.send(int32(length) + bytes(max(0, min(length, 7))))
    connection.expect_close()


@ringlog_only
def test_announced_lengths_are_not_allocated(broker):
    """100 connections that announce 90 MiB each and send nothing cost no such memory.

    Kafka allocates the whole request at once, and would run out of heap here.
    """
    before = broker.rss_bytes()
    connections = [Connection(broker.address) for _ in range(100)]
    try:
        for c in connections:
            c.send(int32(90 << 20) + b"\0\0")
        with Connection(broker.address) as c:
            c.request(API_VERSIONS, 0, b"")
        assert broker.rss_bytes() - before < 200 << 20
    finally:
        for c in connections:
            c.close()


def whole_requests(topic):
    produced = string(None) + int16(-1) + int32(30_000)
    produced += array([string(topic) + array([int32(0) + wire.nullable_bytes(batch([b"never"] * 10))])])
    return {
        "metadata": header(METADATA, 1, 1) + array([string(topic)]),
        "api-versions-3": header(API_VERSIONS, 3, 1, flexible=True)
        + compact_string("me") + compact_string("1") + b"\0",
        "produce": header(PRODUCE, 7, 1) + produced,
        "fetch": header(FETCH, 4, 1) + wire.fetch_body(topic, 0, 0, 0),
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["metadata", "api-versions-3", "produce", "fetch"])
def test_truncated_frame_then_close(kind, broker, topic):
    """A frame that never gets complete is forgotten, wherever it was cut; half a produce writes nothing."""
    name = topic()
    whole = frame(whole_requests(name)[kind])
    for cut in sorted({1, 3, 4, 5, 8, 12, len(whole) // 2, len(whole) - 1}):
        with Connection(broker.address) as c:
            c.send(whole[:cut])
    assert offsets(broker, name) == (0, 0)


@pytest.mark.parametrize("kind", ["metadata", "api-versions-3", "produce", "fetch"])
def test_request_cut_short_inside_its_frame(kind, broker, topic):
    """A complete frame with an incomplete request ends the connection and changes nothing."""
    name = topic()
    whole = whole_requests(name)[kind]
    for cut in sorted({2, 6, 9, len(whole) // 2, len(whole) - 1}):
        with Connection(broker.address) as c:
            c.send(frame(whole[:cut]))
            c.expect_close()
    assert offsets(broker, name) == (0, 0)


def test_one_byte_at_a_time(broker, topic):
    """A frame that trickles in is answered like any other."""
    name = topic()
    with Connection(broker.address) as c:
        for byte in frame(whole_requests(name)["produce"]):
            c.send(bytes([byte]))
        r = wire.Reader(c.receive())
        assert r.int32() == 1
    assert offsets(broker, name) == (0, 10)


# --- Keys and versions


@pytest.mark.parametrize("key", [999, -1, 32767, 4, 5, 7], ids=str)
def test_unknown_api_key_closes_the_connection(key, connection):
    """Keys that do not exist, and those once used between brokers (4 to 7), are not served."""
    connection.post(key, 0, b"")
    connection.expect_close()


@pytest.mark.parametrize("version", [5, 99, 32767], ids=str)
def test_unsupported_version_of_api_versions(version, connection):
    """ApiVersions of a version unknown here is answered in v0 with error 35 and its own range; the client goes on."""
    body = compact_string("raw") + compact_string("1") + b"\0"
    r = connection.request(API_VERSIONS, version, body, flexible=True)
    assert r.int16() == wire.UNSUPPORTED_VERSION
    found = {key: (low, high) for key, low, high in r.array(lambda r: (r.int16(), r.int16(), r.int16()))}
    assert found[API_VERSIONS] == (0, 4)
    assert r.at == len(r.data), "nothing after the keys in v0"
    r = connection.request(API_VERSIONS, 3, body, flexible=True)
    assert r.int16() == wire.NONE


@pytest.mark.parametrize(
    "key, version",
    [(METADATA, 99), (PRODUCE, 99), (PRODUCE, 2), (PRODUCE, 0), (FETCH, 3), (FETCH, 19), (LIST_OFFSETS, 0), (METADATA, -1)],
    ids=str,
)
def test_unsupported_version_closes_the_connection(key, version, connection):
    """Other requests of a version that is not served end the connection; Produce below 3 too, though 0 is advertised."""
    connection.post(key, version, b"")
    connection.expect_close()


def test_api_versions_with_an_invalid_client_name(connection):
    """KIP-511: a client software name with other characters than it allows is INVALID_REQUEST."""
    body = compact_string("bad name!") + compact_string("1") + b"\0"
    assert connection.request(API_VERSIONS, 3, body, flexible=True).int16() == 42


def test_advertised_versions(broker):
    """What is advertised is within what Kafka 4.3 serves, and has what its clients need."""
    found = wire.api_versions(broker.address)
    kafka = {
        "Produce": (0, 0, 13), "Fetch": (1, 4, 18), "ListOffsets": (2, 1, 11), "Metadata": (3, 0, 13),
        "OffsetCommit": (8, 2, 10), "OffsetFetch": (9, 1, 10), "FindCoordinator": (10, 0, 6), "JoinGroup": (11, 0, 9),
        "Heartbeat": (12, 0, 4), "LeaveGroup": (13, 0, 5), "SyncGroup": (14, 0, 5), "DescribeGroups": (15, 0, 6),
        "ListGroups": (16, 0, 5), "ApiVersions": (18, 0, 4), "CreateTopics": (19, 2, 7), "DeleteTopics": (20, 1, 6),
        "DeleteRecords": (21, 0, 2), "InitProducerId": (22, 0, 5), "OffsetForLeaderEpoch": (23, 2, 4),
        "DescribeConfigs": (32, 1, 4), "AlterConfigs": (33, 0, 2), "DescribeLogDirs": (35, 1, 5),
        "CreatePartitions": (37, 0, 3), "DeleteGroups": (42, 0, 2), "IncrementalAlterConfigs": (44, 0, 1),
        "OffsetDelete": (47, 0, 0), "DescribeCluster": (60, 0, 2), "DescribeTopicPartitions": (75, 0, 0),
        "ElectLeaders": (43, 0, 2), "AlterPartitionReassignments": (45, 0, 1), "ListPartitionReassignments": (46, 0, 0),
        "DescribeQuorum": (55, 0, 2), "UnregisterBroker": (64, 0, 0),
        "ConsumerGroupHeartbeat": (68, 0, 1), "ConsumerGroupDescribe": (69, 0, 1), "ListConfigResources": (74, 0, 1),
    }  # fmt: skip
    may_stop_one_short = {"ListOffsets", "DescribeLogDirs"}
    wrong = {}
    for name, (key, low, high) in kafka.items():
        allowed = {(low, high), (low, high - 1)} if name in may_stop_one_short else {(low, high)}
        if found.get(key) not in allowed:
            wrong[name] = (found.get(key), (low, high))
    assert not wrong, f"(advertised, Kafka's): {wrong}"


# --- Lengths and counts inside requests


FETCH_START = int32(-1) + int32(0) + int32(1) + int32(100) + int8(0)
PRODUCE_START = string(None) + int16(1) + int32(1000)
ABSURD = {
    "metadata": (METADATA, 1, HUGE),
    "metadata-compact": (METADATA, 9, uvarint(0xFFFFFFFF)),
    "metadata-name": (METADATA, 1, int32(1) + int16(32767) + b"abc"),
    "metadata-null-name": (METADATA, 1, array([string(None)])),
    "produce-topics": (PRODUCE, 7, PRODUCE_START + HUGE),
    "produce-partitions": (PRODUCE, 7, PRODUCE_START + int32(1) + string("t") + HUGE),
    "produce-records": (PRODUCE, 7, PRODUCE_START + int32(1) + string("t") + int32(1) + int32(0) + HUGE),
    "produce-compact": (PRODUCE, 9, uvarint(0) + int16(1) + int32(1000) + uvarint(0xFFFFFFFF)),
    "fetch-topics": (FETCH, 4, FETCH_START + HUGE),
    "fetch-partitions": (FETCH, 4, FETCH_START + int32(1) + string("t") + HUGE),
    "fetch-compact": (FETCH, 12, FETCH_START + int32(0) + int32(-1) + uvarint(0xFFFFFFFF)),
    "list-offsets": (LIST_OFFSETS, 1, int32(-1) + HUGE),
    "offset-commit": (wire.OFFSET_COMMIT, 2, string("g") + int32(-1) + string("") + int64(-1) + HUGE),
    "offset-fetch": (wire.OFFSET_FETCH, 1, string("g") + HUGE),
    "join-group": (wire.JOIN_GROUP, 0, string("g") + int32(10_000) + string("") + string("consumer") + HUGE),
    "create-topics": (wire.CREATE_TOPICS, 2, HUGE),
    "delete-topics": (wire.DELETE_TOPICS, 1, HUGE),
}
FLEXIBLE = {(METADATA, 9), (PRODUCE, 9), (FETCH, 12)}


@pytest.mark.parametrize("kind", ABSURD)
def test_absurd_count_closes_the_connection(kind, broker, connection):
    """A count or length beyond the request's own end is refused before anything is allocated for it."""
    key, version, body = ABSURD[kind]
    before = broker.rss_bytes()
    connection.post(key, version, body, flexible=(key, version) in FLEXIBLE)
    connection.expect_close()
    assert broker.rss_bytes() - before < 200 << 20


@pytest.mark.parametrize("seed_offset", range(5))
def test_random_bodies(seed_offset, broker, seed):
    """Random bodies under every key and version: an answer or a close, each time, and never a hang of the broker."""
    rng = random.Random(seed + seed_offset)
    served = sorted(wire.api_versions(broker.address).items())
    for _ in range(100):
        key, (low, high) = rng.choice(served)
        flexible = rng.random() < 0.5
        body = rng.randbytes(rng.choice([0, 1, 4, 20, 100]))
        with Connection(broker.address) as c:
            c.post(key, rng.randint(low, high), body, flexible)
            c.sock.shutdown(1)
            c.expect_close()


# --- Record batches


def refused_batches():
    three = [b"a", b"b", b"c"]
    invalid, corrupt = {wire.INVALID_RECORD}, {wire.CORRUPT_MESSAGE}
    # Where Kafka answers UNKNOWN_SERVER_ERROR (-1), a name for what is wrong is as good.
    undecodable = {-1, wire.CORRUPT_MESSAGE, wire.INVALID_RECORD, 76}
    compressed = gzip.compress(record(0, None, b"a"))
    return {
        "wrong-crc": (batch(three, crc=1), corrupt),
        "count-above-records": (batch(three, record_count=5, last_offset_delta=4), invalid),
        "count-below-records": (batch(three, record_count=2, last_offset_delta=1), invalid),
        "count-and-delta-differ": (batch(three, record_count=5), invalid),
        "delta-above-count": (batch(three, last_offset_delta=7), invalid),
        "delta-negative": (batch(three, last_offset_delta=-3), invalid),
        "count-zero": (batch([]), invalid),
        "count-zero-delta-zero": (batch([], record_count=0, last_offset_delta=0), invalid),
        "count-negative": (batch(three, record_count=-1), invalid),
        "count-max": (batch(three, record_count=2**31 - 1, last_offset_delta=2**31 - 2), invalid),
        "base-offset-not-zero": (batch(three, base_offset=5), invalid),
        "bytes-after-the-records": (batch([b"a"], payload=record(0, None, b"a") + b"zz"), invalid),
        "two-batches": (batch(three) + batch(three), invalid),
        "no-batch": (b"", invalid),
        "cut-short": (batch(three)[:-3], invalid),
        "cut-in-the-header": (batch(three)[:10], invalid),
        "length-zero": (batch(three, batch_length=0), corrupt),
        "length-negative": (batch(three, batch_length=-1), corrupt),
        "length-beyond-the-end": (batch(three, batch_length=10**6), invalid),
        "length-max": (batch(three, batch_length=2**31 - 1), undecodable),
        "magic-0": (message_set(0, b"old"), invalid),
        "magic-1": (message_set(1, b"old"), invalid),
        "magic-1-in-a-new-batch": (batch(three, magic=1), invalid),
        "magic-3": (batch(three, magic=3), corrupt),
        "control-batch": (batch(three, attributes=0x20), invalid),
        "no-such-codec": (batch(three, attributes=7), undecodable),
        "garbage-for-gzip": (batch([b"a"], attributes=1, payload=b"not gzip at all"), undecodable),
        "gzip-cut-short": (batch([b"a"], attributes=1, payload=compressed[:-6]), undecodable),
        "count-above-compressed-records": (batch([b"a", b"b"], attributes=1, payload=compressed), invalid),
        "garbage-for-records": (batch([b"a"], payload=b"\xff" * 20), undecodable),
        "producer-id-without-sequence": (batch(three, producer_id=5, producer_epoch=0), invalid),
        "timestamp-in-the-far-future": (batch(three, timestamp_ms=T0 + 10 * 24 * 3600 * 1000), {32}),
    }  # fmt: skip


@pytest.mark.parametrize("kind", refused_batches())
def test_refused_batch(kind, topic, broker, connection):
    """A batch that is not what it says gets its error, nothing of it is stored, and the connection goes on."""
    name = topic()
    data, errors = refused_batches()[kind]
    error, _ = wire.produce(connection, name, 0, data)
    assert error in errors, f"error {error}, expected one of {sorted(errors)}"
    assert offsets(broker, name) == (0, 0)
    assert wire.produce(connection, name, 0, batch([b"good"])) == (wire.NONE, 0)
    assert_dense(batches(broker, name), 0, 1)


def test_null_key_on_a_compacted_topic(topic, broker, connection):
    """A record without a key cannot be compacted: INVALID_RECORD, compressed or not; with a key it is taken."""
    name = topic(configs={"cleanup.policy": "compact"})
    assert wire.produce(connection, name, 0, batch([b"v"]))[0] == wire.INVALID_RECORD
    compressed = gzip.compress(record(0, None, b"v"))
    assert wire.produce(connection, name, 0, batch([b"v"], attributes=1, payload=compressed))[0] == wire.INVALID_RECORD
    mixed = record(0, b"k", b"v") + record(1, None, b"v")
    assert wire.produce(connection, name, 0, batch([b"", b""], payload=mixed))[0] == wire.INVALID_RECORD
    assert wire.produce(connection, name, 0, batch([b""], payload=record(0, b"k", b"v"))) == (wire.NONE, 0)
    assert offsets(broker, name) == (0, 1)


def test_one_bad_partition_does_not_spoil_the_others(topic, broker, connection):
    """In one request each partition has its own answer."""
    name = topic(partitions=3)
    parts = {0: batch([b"a"]), 1: batch([b"b"], crc=7), 2: batch([b"c"])}
    body = string(None) + int16(-1) + int32(30_000)
    body += array([string(name) + array(parts.items(), lambda p: int32(p[0]) + wire.nullable_bytes(p[1]))])
    answers = wire.read_produce(connection.request(PRODUCE, 7, body))
    assert answers == {0: (wire.NONE, 0), 1: (wire.CORRUPT_MESSAGE, -1), 2: (wire.NONE, 0)}
    assert [offsets(broker, name, p) for p in range(3)] == [(0, 1), (0, 0), (0, 1)]


@pytest.mark.parametrize("acks", [7, 2, -2, -32768], ids=str)
def test_invalid_required_acks(acks, topic, broker, connection):
    """acks other than -1, 0 and 1 are refused, and nothing is stored."""
    name = topic()
    assert wire.produce(connection, name, 0, batch([b"v"]), acks=acks)[0] == wire.INVALID_REQUIRED_ACKS
    assert offsets(broker, name) == (0, 0)


def test_acks_0_has_no_answer(topic, broker, connection):
    """Nothing is answered to acks=0: the next response belongs to the next request."""
    name = topic()
    for _ in range(10):
        wire.produce(connection, name, 0, batch([b"v"]), acks=0)
    assert wire.produce(connection, name, 0, batch([b"last"]), acks=1) == (wire.NONE, 10)
    assert offsets(broker, name) == (0, 11)


@pytest.mark.parametrize("kind", ["wrong-crc", "unknown-topic"])
def test_error_under_acks_0_closes_the_connection(kind, topic, connection):
    """With acks=0 closing is the only way to tell the client that something is wrong."""
    name = topic()
    if kind == "wrong-crc":
        wire.produce(connection, name, 0, batch([b"v"], crc=1), acks=0)
    else:
        wire.produce(connection, "no-such-topic", 0, batch([b"v"]), acks=0)
    connection.expect_close()


# --- Many connections, slow connections, order


def wait_until_closed(broker, files):
    wait_until(lambda: broker.open_files() <= files + 20, f"the broker's open files to fall back to about {files}")


def test_half_open_connections(broker):
    """200 connections that say nothing, or half a request, disturb nobody, and their going leaves nothing open."""
    files = broker.open_files()
    half = frame(header(METADATA, 1, 1) + int32(0))[:9]
    connections = [Connection(broker.address) for _ in range(200)]
    for c in connections[::2]:
        c.send(half)
    with Connection(broker.address) as c:
        c.request(API_VERSIONS, 0, b"")
    for c in connections:
        c.close()
    wait_until_closed(broker, files)


def test_five_hundred_idle_connections(broker, topic):
    """500 connections that were used once and stay open: new ones are served, and each of them still is."""
    files = broker.open_files()
    name = topic()
    connections = [Connection(broker.address) for _ in range(500)]
    try:
        for c in connections:
            c.request(API_VERSIONS, 0, b"")
        with Connection(broker.address) as c:
            assert wire.produce(c, name, 0, batch([b"v"])) == (wire.NONE, 0)
        for c in connections:
            assert wire.fetch(c, name, 0, 0)[1] == 1
    finally:
        for c in connections:
            c.close()
    wait_until_closed(broker, files)


def test_client_that_never_reads(broker, topic):
    """A client that asks for 16 GiB and reads none of it: the others are served, memory stays bounded."""
    name = topic(configs={"max.message.bytes": str(16 << 20)})
    with Connection(broker.address) as c:
        assert wire.produce(c, name, 0, batch([bytes(8 << 20)])) == (wire.NONE, 0)
    before = broker.rss_bytes()
    greedy = [Connection(broker.address, timeout_s=1, receive_buffer=4096) for _ in range(20)]
    try:
        for c in greedy:
            try:
                for _ in range(100):
                    c.post(FETCH, 4, wire.fetch_body(name, 0, 0, 0))
            except TimeoutError:
                pass  # the broker stopped reading from us: that is back-pressure
        with Connection(broker.address) as c:
            for i in range(50):
                assert wire.produce(c, name, 0, batch([b"v"])) == (wire.NONE, 1 + i)
                assert wire.fetch(c, name, 0, 1 + i)[1] == 2 + i
        if paths.AGAINST == "ringlog":  # Kafka's heap is what it is given
            assert broker.rss_bytes() - before < 400 << 20
    finally:
        for c in greedy:
            c.close()


def test_pipelined_requests_are_answered_in_order(broker, topic):
    """Responses leave in the order of the requests, whatever each of them has to wait for."""
    name = topic(partitions=8)
    with Connection(broker.address) as c:
        posted = [c.post(FETCH, 4, wire.fetch_body(name, 0, 0, 300))]  # waits: nothing may overtake it
        for i in range(60):
            partition = int32(i % 8)
            produced = string(None) + int16([-1, 1][i % 2]) + int32(30_000)
            produced += array([string(name) + array([partition + wire.nullable_bytes(batch([b"%d" % i]))])])
            posted.append(c.post(PRODUCE, 7, produced))
            posted.append(c.post(METADATA, 1, array([string(name)])))
            posted.append(c.post(FETCH, 4, wire.fetch_body(name, i % 8, 0, 0)))
            posted.append(c.post(API_VERSIONS, 0, b""))
        answered = [struct.unpack_from(">i", c.receive())[0] for _ in posted]
        assert answered == posted
    assert [offsets(broker, name, p)[1] for p in range(8)] == [8, 8, 8, 8, 7, 7, 7, 7]


def test_pipelined_produces_keep_their_order(broker, topic):
    """200 produces in flight on one connection land in the order they were sent."""
    name = topic()
    with Connection(broker.address) as c:
        for i in range(200):
            body = string(None) + int16(-1) + int32(30_000)
            body += array([string(name) + array([int32(0) + wire.nullable_bytes(batch([b"n%03d." % i]))])])
            c.post(PRODUCE, 7, body)
        for i in range(200):
            r = wire.Reader(c.receive())
            assert r.int32() == i + 1
            assert wire.read_produce(r) == {0: (wire.NONE, i)}
    found = batches(broker, name)
    assert_dense(found, 0, 200)
    assert all(b"n%03d." % i in b.data for i, b in enumerate(found))
