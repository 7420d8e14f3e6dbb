"""What a client sends it reads back, byte for byte, in every shape that Kafka allows."""

import time

import pytest

from harness import wire
from harness.batch import CODECS, batch
from harness.clients import ALL_CODECS, CLIENTS, CONFLUENT
from harness.records import (
    LOG_APPEND_TIME,
    T0,
    Record,
    assert_same,
    assorted,
    edge_cases,
    partitions_for,
)
from harness.stored import assert_dense, batches
from harness.topics import offsets
from harness.wait import PATIENCE_S

pytestmark = pytest.mark.roundtrip
every_client = pytest.mark.parametrize("client", CLIENTS, ids=repr)


@pytest.mark.parametrize("codec", ALL_CODECS)
@every_client
def test_compression(client, codec, broker, topic, seed):
    """Every codec survives the way, and the broker keeps the batch as the client compressed it."""
    partitions = partitions_for(client.sets, 2)
    name = topic(partitions)
    sent = assorted(100, partitions, seed, client.sets)
    # Long runs of one letter: clients may send what does not shrink uncompressed.
    sent += [Record(value=b"a" * 5000, key=b"k", timestamp=T0, partition=p) for p in range(partitions)]
    if not client.sets.timestamp:
        sent = [Record(r.value, r.key, r.headers, -1, r.partition) for r in sent]
    client.produce(broker.bootstrap, name, sent, compression=codec)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)
    for partition in range(partitions):
        assert {b.codec for b in batches(broker, name, partition)} == {CODECS[codec]}


@every_client
def test_nulls_empties_headers_and_timestamps(client, broker, topic):
    """Null is not empty, headers keep their order and repeats, timestamps need not be in order."""
    name = topic()
    sent = edge_cases(client.sets)
    client.produce(broker.bootstrap, name, sent)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)


@pytest.mark.parametrize("acks", ["all", "1"])
@every_client
def test_acks_without_idempotence(client, acks, broker, topic, seed):
    """Plain producers (no producer id) with acks=1 and acks=all."""
    name = topic()
    sent = assorted(30, 1, seed, client.sets)
    client.produce(broker.bootstrap, name, sent, acks=acks, idempotent=False)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)
    assert {b.producer_id for b in batches(broker, name)} == {-1}


@every_client
def test_idempotent(client, broker, topic, seed):
    """Idempotent producers get an id from the broker, and it is in what they wrote."""
    name = topic()
    sent = assorted(30, 1, seed, client.sets)
    client.produce(broker.bootstrap, name, sent, idempotent=True)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)
    ids = {b.producer_id for b in batches(broker, name)}
    assert len(ids) == 1 and min(ids) >= 0, f"producer ids in the log: {ids}"


@every_client
def test_log_append_time(client, broker, topic):
    """With message.timestamp.type=LogAppendTime the broker's clock replaces what the producer said."""
    name = topic(configs={"message.timestamp.type": "LogAppendTime"})
    timestamp = T0 if client.sets.timestamp else -1
    sent = [Record(value=b"v%d" % i, key=b"k", timestamp=timestamp) for i in range(20)]
    before = int(time.time() * 1000)
    client.produce(broker.bootstrap, name, sent)
    after = int(time.time() * 1000)
    read = client.consume(broker.bootstrap, name, len(sent))
    assert [r.value for r in read] == [r.value for r in sent]
    assert all(before <= r.timestamp <= after for r in read), f"{[r.timestamp for r in read]} not in {before}..{after}"
    kinds = {r.timestamp_type for r in read}
    assert kinds in ({LOG_APPEND_TIME}, {None}), f"timestamp types {kinds}"  # None: kcat does not tell


@every_client
def test_one_mebibyte_records(client, broker, topic, seed):
    """Records of exactly 1 MiB, on a topic that takes them."""
    name = topic(configs={"max.message.bytes": str(4 << 20)})
    sent = [Record(value=bytes([97 + i]) * (1 << 20), key=b"k%d" % i) for i in range(4)]
    sent += assorted(10, 1, seed, client.sets)
    client.produce(broker.bootstrap, name, sent, batch_bytes=2 << 20)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)


@every_client
def test_batch_of_ten_thousand_records(client, broker, topic):
    """One batch of 10,000 records, as a client library would build it, is read whole by every consumer."""
    name = topic()
    values = [b"%d" % i for i in range(10_000)]
    with wire.Connection(broker.address) as c:
        assert wire.produce(c, name, 0, batch(values)) == (wire.NONE, 0)
    assert [b.count for b in batches(broker, name)] == [10_000]
    sent = [Record(value=v, timestamp=T0) for v in values]
    assert_same(sent, client.consume(broker.bootstrap, name, 10_000), client.sees)


def test_producer_with_ten_thousand_records_per_batch(broker, topic, seed):
    """librdkafka asked for batches of 10,000 gets them stored as it made them."""
    name = topic()
    sent = [Record(value=b"%d" % i, timestamp=T0 + i) for i in range(30_000)]
    CONFLUENT.produce(broker.bootstrap, name, sent, compression="lz4")
    assert_same(sent, CONFLUENT.consume(broker.bootstrap, name, len(sent)), CONFLUENT.sees)
    found = batches(broker, name)
    assert_dense(found, 0, len(sent))
    assert max(b.count for b in found) == 10_000


@every_client
def test_hundred_partitions(client, broker, topic, seed):
    """A topic of 100 partitions, each with its own records in order."""
    partitions = 100
    name = topic(partitions)
    if client.sets.partition:
        sent = assorted(500, partitions, seed, client.sets)
        client.produce(broker.bootstrap, name, sent)
        assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)
        return
    # The client's own partitioner decides by key: every record is there once, wherever it went.
    sent = [Record(value=b"v%d" % i, key=b"k%d" % i) for i in range(500)]
    client.produce(broker.bootstrap, name, sent)
    read = client.consume(broker.bootstrap, name, len(sent))
    assert sorted((r.key, r.value) for r in read) == sorted((r.key, r.value) for r in sent)
    assert sum(offsets(broker, name, p)[1] for p in range(partitions)) == len(sent)
    assert len({r.partition for r in read}) > 90, "500 keys in 100 partitions"


@every_client
def test_empty_topic(client, broker, topic):
    """Nothing comes out of an empty topic, and nothing breaks."""
    name = topic(partitions=2)
    assert offsets(broker, name, 0) == offsets(broker, name, 1) == (0, 0)
    assert client.consume(broker.bootstrap, name, 1, timeout_s=2) == []
    client.produce(broker.bootstrap, name, [Record(value=b"first", key=b"k")])
    assert [r.value for r in client.consume(broker.bootstrap, name, 1)] == [b"first"]


@pytest.fixture(scope="module")
def big(_shared):
    """32 MiB in 4 partitions: (topic, records)."""
    from harness.topics import create_topic

    broker = _shared.get()
    create_topic(broker.bootstrap, "big-fetch", 4)
    records = [Record(value=bytes([i % 251]) * (64 << 10), key=b"%d" % i, partition=i % 4) for i in range(512)]
    CONFLUENT.produce(broker.bootstrap, "big-fetch", records)
    return "big-fetch", records


@every_client
def test_big_fetches(client, broker, big):
    """32 MiB come out whole with fetches of many MiB."""
    name, records = big
    assert_same(records, client.consume(broker.bootstrap, name, len(records)), CONFLUENT.sets & client.sees)


def test_one_fetch_of_eight_mebibytes(broker, big):
    """A single Fetch response carries all that the partition has, when its limits allow it."""
    name, _ = big
    with wire.Connection(broker.address, timeout_s=PATIENCE_S) as c:
        error, high_watermark, data = wire.fetch(c, name, 0, 0)
    assert (error, high_watermark) == (wire.NONE, 128)
    assert len(data) >= 128 * (64 << 10)


def test_fetch_limits(broker, big):
    """A limit below the first batch still returns that batch whole; a larger one is not exceeded by a further batch."""
    name, _ = big
    first = batches(broker, name)[0]
    with wire.Connection(broker.address) as c:
        _, _, one = wire.fetch(c, name, 0, 0, max_bytes=100)
        assert one[: len(first.data)] == first.data, "the first batch, whole, whatever the limit"
        limit = 3 << 20
        _, _, some = wire.fetch(c, name, 0, 0, max_bytes=limit)
        assert len(first.data) <= len(some) <= limit
