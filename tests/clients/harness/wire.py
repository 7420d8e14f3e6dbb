"""Kafka's framing and primitive types over a plain socket, for requests that no client library would send.

Bodies are built by hand in the tests; this module only knows how to frame, and how to read primitives back. Absent:
schemas, retries, any judgement of what comes back.
"""

import socket
import struct
from dataclasses import dataclass

PRODUCE, FETCH, LIST_OFFSETS, METADATA = 0, 1, 2, 3
OFFSET_COMMIT, OFFSET_FETCH, FIND_COORDINATOR, JOIN_GROUP = 8, 9, 10, 11
API_VERSIONS, CREATE_TOPICS, DELETE_TOPICS, INIT_PRODUCER_ID = 18, 19, 20, 22
CONSUMER_GROUP_HEARTBEAT = 68

# Error codes of the protocol that tests name.
NONE = 0
OFFSET_OUT_OF_RANGE = 1
CORRUPT_MESSAGE = 2
UNKNOWN_TOPIC_OR_PARTITION = 3
LEADER_NOT_AVAILABLE = 5
NOT_LEADER_OR_FOLLOWER = 6
REQUEST_TIMED_OUT = 7
NOT_ENOUGH_REPLICAS = 19
NOT_ENOUGH_REPLICAS_AFTER_APPEND = 20
INVALID_REQUIRED_ACKS = 21
UNSUPPORTED_VERSION = 35
UNSUPPORTED_FOR_MESSAGE_FORMAT = 43
KAFKA_STORAGE_ERROR = 56
ELECTION_NOT_NEEDED = 84
INVALID_RECORD = 87

MAX_RESPONSE_BYTES = 256 << 20


class Closed(Exception):
    """The other side closed the connection (orderly or by reset)."""


def int8(n):
    return struct.pack(">b", n)


def int16(n):
    return struct.pack(">h", n)


def int32(n):
    return struct.pack(">i", n)


def int64(n):
    return struct.pack(">q", n)


def string(s):
    return int16(-1) if s is None else int16(len(s.encode())) + s.encode()


def nullable_bytes(b):
    return int32(-1) if b is None else int32(len(b)) + b


def array(items, one=lambda b: b):
    return int32(len(items)) + b"".join(one(i) for i in items)


def uvarint(n):
    out = bytearray()
    while n >= 0x80:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    out.append(n)
    return bytes(out)


def compact_string(s):
    return uvarint(0) if s is None else uvarint(len(s.encode()) + 1) + s.encode()


def varint(n):
    """Zig-zag, as in record bodies."""
    return uvarint((n << 1) ^ (n >> 63))


def header(api_key, version, correlation_id, client_id="raw", flexible=False):
    h = int16(api_key) + int16(version) + int32(correlation_id) + string(client_id)
    return h + b"\0" if flexible else h


def frame(payload):
    return int32(len(payload)) + payload


class Reader:
    """Primitives off a response, in order."""

    def __init__(self, data: bytes):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise AssertionError(f"response too short: wanted {n} bytes at {self.at} of {len(self.data)}")
        self.at += n
        return self.data[self.at - n : self.at]

    def int8(self):
        return struct.unpack(">b", self.take(1))[0]

    def int16(self):
        return struct.unpack(">h", self.take(2))[0]

    def int32(self):
        return struct.unpack(">i", self.take(4))[0]

    def int64(self):
        return struct.unpack(">q", self.take(8))[0]

    def uvarint(self):
        n = shift = 0
        while True:
            byte = self.take(1)[0]
            n |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return n

    def string(self):
        n = self.int16()
        return None if n < 0 else self.take(n).decode()

    def bytes(self):
        n = self.int32()
        return None if n < 0 else self.take(n)

    def array(self, one):
        n = self.int32()
        return None if n < 0 else [one(self) for _ in range(n)]


class Connection:
    """One raw connection. Every read is bounded by `timeout_s`, so that a silent broker fails a test, not hangs it."""

    def __init__(self, address, timeout_s=30.0, receive_buffer=None):
        self.sock = socket.socket()
        if receive_buffer:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.sock.settimeout(timeout_s)
        self.sock.connect(address)
        self.correlation_id = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data: bytes):
        try:
            self.sock.sendall(data)
        except (ConnectionError, BrokenPipeError) as e:
            raise Closed(str(e)) from e

    def _receive(self, n):
        parts = []
        while n:
            try:
                part = self.sock.recv(min(n, 1 << 20))
            except ConnectionError as e:
                raise Closed(str(e)) from e
            if not part:
                raise Closed("end of stream")
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def receive(self) -> bytes:
        """One response frame, without its length."""
        (n,) = struct.unpack(">i", self._receive(4))
        assert 0 <= n <= MAX_RESPONSE_BYTES, f"response length {n}"
        return self._receive(n)

    def post(self, api_key, version, body, flexible=False) -> int:
        """Sends a request without waiting; returns its correlation id."""
        self.correlation_id += 1
        self.send(frame(header(api_key, version, self.correlation_id, flexible=flexible) + body))
        return self.correlation_id

    def request(self, api_key, version, body, flexible=False) -> Reader:
        """Sends a request and returns a reader placed after the response header."""
        correlation_id = self.post(api_key, version, body, flexible)
        reader = Reader(self.receive())
        got = reader.int32()
        assert got == correlation_id, f"correlation id {got}, expected {correlation_id}"
        if flexible and api_key != API_VERSIONS:  # ApiVersions keeps response header v0
            assert reader.uvarint() == 0, "unexpected tagged fields in the response header"
        return reader

    def expect_close(self):
        """The broker ends the connection; whatever it still sends is read and dropped."""
        try:
            while True:
                if not self.sock.recv(1 << 16):
                    return
        except ConnectionError:
            return
        except TimeoutError:
            raise AssertionError("the broker neither answered nor closed the connection") from None


def brokers(address, timeout_s=5.0):
    """Metadata v1 for no topics: [(node id, host, port)]."""
    with Connection(address, timeout_s) as c:
        return brokers_told(c)


def brokers_told(connection):
    """As `brokers`, of a connection that there is."""
    r = connection.request(METADATA, 1, int32(0))
    return r.array(lambda r: (r.int32(), r.string(), r.int32(), r.string())[:3])


def api_versions(address):
    """ApiVersions v0: {api key: (min, max)}."""
    with Connection(address) as c:
        r = c.request(API_VERSIONS, 0, b"")
        assert r.int16() == NONE
        return {key: (low, high) for key, low, high in r.array(lambda r: (r.int16(), r.int16(), r.int16()))}


def produce(connection, topic, partition, batches: bytes | None, acks=-1, version=7, timeout_ms=30_000):
    """One partition's Produce; returns (error code, base offset). With acks=0 there is no answer: None."""
    body = string(None) + int16(acks) + int32(timeout_ms)
    body += array([string(topic) + array([int32(partition) + nullable_bytes(batches)])])
    if acks == 0:
        connection.post(PRODUCE, version, body)
        return None
    return read_produce(connection.request(PRODUCE, version, body))[partition]


def read_produce(r: Reader):
    """A Produce v5-v7 response for one topic: partition -> (error code, base offset)."""
    topics = r.array(lambda r: (r.string(), r.array(_produced)))
    return dict(topics[0][1])


def _produced(r):
    partition, error, base_offset = r.int32(), r.int16(), r.int64()
    _append_time, _log_start = r.int64(), r.int64()
    return partition, (error, base_offset)


def fetch_body(topic, partition, offset, max_wait_ms, min_bytes=1, max_bytes=50 << 20, version=4):
    """Fetch v4-v6 for one partition."""
    body = int32(-1) + int32(max_wait_ms) + int32(min_bytes) + int32(max_bytes) + int8(0)
    one = int32(partition) + int64(offset)
    if version >= 5:
        one += int64(-1)
    return body + array([string(topic) + array([one + int32(max_bytes)])])


def fetch_many_body(topic, offsets, max_bytes, partition_max_bytes=1 << 20, max_wait_ms=500, min_bytes=1):
    """Fetch v4 for several partitions; `offsets` says from where on."""
    partitions = array([int32(p) + int64(offset) + int32(partition_max_bytes) for p, offset in offsets.items()])
    return int32(-1) + int32(max_wait_ms) + int32(min_bytes) + int32(max_bytes) + int8(0) + array([string(topic) + partitions])


def read_fetch_many(r: Reader):
    """The partitions of one topic in a Fetch v4 response: partition -> (error code, high watermark, record bytes)."""
    return dict(read_fetch_list(r))


def read_fetch_list(r: Reader):
    """The same as pairs, in their order."""
    r.int32()  # throttle time
    ((_topic, partitions),) = r.array(lambda r: (r.string(), r.array(lambda r: (r.int32(), _fetched(r)))))
    return partitions


def fetch(connection, topic, partition, offset, max_wait_ms=500, min_bytes=1, max_bytes=50 << 20):
    """One partition's Fetch v4; returns (error code, high watermark, record bytes)."""
    return read_fetch(
        connection.request(FETCH, 4, fetch_body(topic, partition, offset, max_wait_ms, min_bytes, max_bytes))
    )


def read_fetch(r: Reader):
    """The single partition of a Fetch v4 response."""
    (answer,) = read_fetch_many(r).values()
    return answer


def _fetched(r):
    error, high_watermark, _last_stable = r.int16(), r.int64(), r.int64()
    r.array(lambda r: (r.int64(), r.int64()))  # aborted transactions
    return error, high_watermark, r.bytes() or b""


@dataclass(frozen=True)
class Fetched:
    """What one broker answers for one partition, of its own replica."""

    error: int
    high_watermark: int
    log_start: int
    preferred_replica: int
    data: bytes


def fetch_replica(
    connection, topic, partition, offset, rack="", max_wait_ms=0, max_bytes=8 << 20, leader_epoch=-1
) -> Fetched:
    """One partition's Fetch v11, the first version that a follower answers too (KIP-392); no session.

    With a leader epoch, a broker that is at another one answers with an error.
    """
    body = int32(-1) + int32(max_wait_ms) + int32(1) + int32(max_bytes) + int8(0) + int32(0) + int32(-1)
    one = int32(partition) + int32(leader_epoch) + int64(offset) + int64(-1) + int32(max_bytes)
    body += array([string(topic) + array([one])]) + array([]) + string(rack)
    r = connection.request(FETCH, 11, body)
    r.int32()  # throttle time
    error, _session = r.int16(), r.int32()
    if error != NONE:
        return Fetched(error, -1, -1, -1, b"")

    def found(r):
        _partition, error, high_watermark, _last_stable = r.int32(), r.int16(), r.int64(), r.int64()
        log_start = r.int64()
        r.array(lambda r: (r.int64(), r.int64()))  # aborted transactions
        return Fetched(error, high_watermark, log_start, r.int32(), r.bytes() or b"")

    ((_topic, (answer,)),) = r.array(lambda r: (r.string(), r.array(found)))
    return answer


def list_offsets(connection, topic, partitions, timestamp):
    """ListOffsets v1; -1 latest, -2 earliest. Returns partition -> (error code, timestamp, offset)."""
    body = int32(-1) + array([string(topic) + array(partitions, lambda p: int32(p) + int64(timestamp))])
    r = connection.request(LIST_OFFSETS, 1, body)
    topics = r.array(lambda r: (r.string(), r.array(lambda r: (r.int32(), r.int16(), r.int64(), r.int64()))))
    return {answer[0]: answer[1:] for answer in topics[0][1]}


def list_offset(connection, topic, partition, timestamp):
    """The same for one partition."""
    return list_offsets(connection, topic, [partition], timestamp)[partition]
