"""Records as the tests see them, how to make them, and what it means that they came back whole."""

import random
import time
from collections import defaultdict
from dataclasses import dataclass, fields, replace

CREATE_TIME, LOG_APPEND_TIME = 0, 1


@dataclass(frozen=True)
class Record:
    """One record to send. `timestamp` in ms; -1 leaves it to the client."""

    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp: int = -1
    partition: int = 0


@dataclass(frozen=True)
class Read(Record):
    """One record that came back. What a client cannot report (see its `sees`) is None."""

    offset: int | None = None
    timestamp_type: int | None = None


def _short(b):
    return b if b is None or len(b) <= 48 else b[:24] + b"..." + f"[{len(b)} bytes]".encode()


def show(record) -> str:
    return repr(replace(record, key=_short(record.key), value=_short(record.value)))


# How far a client can go with headers.
NO_HEADERS, TEXT_HEADERS, BINARY_HEADERS = 0, 1, 2


@dataclass(frozen=True)
class Sees:
    """What a producer can set, or a consumer can tell, about a record."""

    partition: bool = True  # otherwise: give it topics of one partition
    offset: bool = True
    timestamp: bool = True
    headers: int = BINARY_HEADERS
    null_headers: bool = True  # headers whose value is null
    null: bool = True  # null keys and values
    both_null: bool = True  # records with neither key nor value
    empty: bool = True  # empty keys and values, as something else than null
    binary: bool = True  # any byte in keys and values

    def __and__(self, other: "Sees") -> "Sees":
        return Sees(**{f.name: min(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)})


def by_partition(records):
    grouped = defaultdict(list)
    for record in records:
        grouped[record.partition].append(record)
    return grouped


def assert_same(sent: list[Record], read: list[Read], sees: Sees, first_offset: int = 0):
    """Every record came back once, equal in every field that both sides can see, in order and dense per partition."""
    sent_by, read_by = by_partition(sent), by_partition(read)
    counts = {p: len(r) for p, r in sorted(read_by.items())}
    expected_counts = {p: len(s) for p, s in sorted(sent_by.items())}
    assert counts == expected_counts, f"records per partition {counts}, expected {expected_counts}"
    for partition, expected in sent_by.items():
        for i, (s, r) in enumerate(zip(expected, read_by[partition])):
            _assert_one(s, r, sees)
            if sees.offset:
                assert r.offset == first_offset + i, f"offset of {show(r)}, expected {first_offset + i}"


def _assert_one(s: Record, r: Read, sees: Sees):
    context = f"\nsent {show(s)}\nread {show(r)}"
    assert s.key == r.key, "key" + context
    assert s.value == r.value, "value" + context
    if sees.headers:
        assert s.headers == r.headers, "headers" + context
    if sees.timestamp and s.timestamp >= 0:
        assert s.timestamp == r.timestamp, "timestamp" + context


# Timestamps count from an hour before this run: recent, since default retention deletes by record timestamp.
T0 = (int(time.time()) - 3600) * 1000


def assorted(count: int, partitions: int, seed: int, sees: Sees = Sees()) -> list[Record]:
    """Records of every shape that `sees` allows: null, empty, tiny and larger keys and values, headers, timestamps."""
    rng = random.Random(seed)

    def blob(n, binary):
        if binary:
            return rng.randbytes(n)
        return bytes(rng.choices(b"abcdefghijklmnopqrstuvwxyz0123456789 _-", k=n))

    def optional(kinds, binary=sees.binary):
        kind = rng.choice([k for k in kinds if getattr(sees, k, True)])
        if kind == "null":
            return None
        if kind == "empty":
            return b""
        return blob(rng.randint(1, 40) if kind == "small" else rng.randint(1000, 3000), binary)

    records = []
    for i in range(count):
        headers = ()
        if sees.headers:
            binary = sees.headers == BINARY_HEADERS
            kinds = ["small", "empty", "null"] if sees.null_headers else ["small"]
            values = (optional(kinds, binary) for _ in range(rng.choice([0, 0, 1, 3])))
            headers = tuple((f"h{n}", value) for n, value in enumerate(values))
        key = optional(["null", "empty", "small"])
        kinds = ["null", "empty", "small", "small", "large"]
        records.append(
            Record(
                key=key,
                value=optional(kinds if key is not None or sees.both_null else kinds[1:]),
                headers=headers,
                timestamp=T0 + i if sees.timestamp else -1,
                partition=i % partitions,
            )
        )
    return records


def edge_cases(sees: Sees = Sees()) -> list[Record]:
    """One record for each combination of null, empty and plain key and value, and for each kind of header."""
    blobs = [b"plain"] + ([None] if sees.null else []) + ([b""] if sees.empty else [])
    if sees.binary:
        blobs.append(bytes(range(256)))
    records = [
        Record(key=key, value=value)
        for key in blobs
        for value in blobs
        if sees.both_null or key is not None or value is not None
    ]
    if sees.headers:
        values = [b"text"] + ([None] if sees.null_headers else []) + ([b""] if sees.empty else [])
        if sees.headers == BINARY_HEADERS:
            values += [b"\x00\xff\n,=:", "größe".encode()]
        records += [Record(value=b"with header", key=b"k", headers=(("name", v),)) for v in values]
        records.append(Record(value=b"many", key=b"k", headers=tuple((f"h{i}", b"v%d" % i) for i in range(50))))
        records.append(Record(value=b"same name twice", key=b"k", headers=(("h", b"1"), ("h", b"2"), ("h", b"1"))))
    if sees.timestamp:
        stamps = [T0, T0 - 1, T0 + 1, T0]  # not in order: timestamps need not be
        records += [Record(value=b"at %d" % t, key=b"k", timestamp=t) for t in stamps]
    return records


def partitions_for(sets: Sees, partitions: int) -> int:
    """A producer that cannot choose the partition gets a topic of one, so that order can still be compared."""
    return partitions if sets.partition else 1
