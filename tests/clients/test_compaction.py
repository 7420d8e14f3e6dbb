"""cleanup.policy=compact: of the records with one key the last one stays, at its offset, across clients and restarts."""

import pytest
from confluent_kafka import Consumer, KafkaError, TopicPartition

from harness.clients import CONFLUENT
from harness.records import Record
from harness.stored import batches
from harness.topics import create_topic, offsets
from harness.wait import wait_until

pytestmark = pytest.mark.retention
PATIENCE_S = 120
SEGMENT_BYTES = 1 << 20  # the smallest that Kafka allows
KEYS = 50
VALUE = bytes(2_000)
TOPIC = {
    "cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
}  # fmt: skip


def read_all(broker, topic):
    """(offset, key, value) of every record, as a consumer from the start sees them."""
    consumer = Consumer({
        "bootstrap.servers": broker.bootstrap, "group.id": "reader", "enable.auto.commit": False,
        "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, 0)])
    found = []
    try:
        while True:
            message = consumer.poll(30)
            assert message is not None, "the end of the partition was not reached"
            if message.error():
                assert message.error().code() == KafkaError._PARTITION_EOF, message.error()
                return found
            found.append((message.offset(), message.key(), message.value()))
    finally:
        consumer.close()


def produce(broker, topic, records):
    CONFLUENT.produce(broker.bootstrap, topic, records, batch_bytes=50_000)


def rounds(number, first=0):
    """Every key so often, with a value that says when."""
    return [
        Record(key=b"key-%d" % key, value=b"%d " % turn + VALUE) for turn in range(first, first + number)
        for key in range(KEYS)
    ]  # fmt: skip


def check(broker, topic, sent):
    """What is there is a part of what was sent, with the last of every key, and only that before the active segment."""
    found = read_all(broker, topic)
    assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
    for offset, key, value in found:
        assert (key, value) == (sent[offset].key, sent[offset].value), offset
    there = {offset for offset, _, _ in found}
    last = {record.key: offset for offset, record in enumerate(sent)}
    missing = [key for key, offset in last.items() if offset not in there and sent[offset].value is not None]
    assert not missing, f"the last value of {missing[:3]} is gone"
    return found


@pytest.fixture
def compacting(own_broker_with):
    return own_broker_with({"log.cleaner.backoff.ms": "200"})


@pytest.fixture
def own_broker_with():
    from harness.broker import new_broker

    brokers = []

    def make(settings):
        brokers.append(new_broker("compaction", settings).start())
        return brokers[-1]

    yield make
    for broker in brokers:
        broker.discard()


def compacted_records(broker, topic):
    return sum(b.count for b in batches(broker, topic))


def test_the_last_value_of_a_key_stays(compacting):
    """A consumer from the start sees the last value of every key, in order, at its offset; tombstones go in the end."""
    create_topic(compacting.bootstrap, "last", 1, TOPIC)
    sent = rounds(60)
    produce(compacting, "last", sent)
    sent_bytes = 60 * KEYS * len(VALUE)
    wait_until(lambda: compacted_records(compacting, "last") < len(sent) // 3, "the log to be compacted", PATIENCE_S)
    check(compacting, "last", sent)
    assert offsets(compacting, "last") == (0, len(sent)), "offsets stay"
    assert sum(len(b.data) for b in batches(compacting, "last")) < sent_bytes / 2

    # Half of the keys are deleted; what comes after makes the segments with the tombstones dirty, twice.
    gone = {b"key-%d" % key for key in range(KEYS // 2)}
    tombstones = [Record(key=key, value=None) for key in sorted(gone)]
    others = [record for record in rounds(120, first=60) if record.key not in gone]
    for lot in (tombstones, others[:1500], others[1500:]):
        produce(compacting, "last", lot)
        sent += lot
        keys = lambda: {key for _, key, _ in read_all(compacting, "last")}  # noqa: E731
    wait_until(lambda: not keys() & gone, "deleted keys to go", PATIENCE_S)
    check(compacting, "last", sent)


def test_kill9_while_compacting(compacting):
    """Killed again and again while it compacts, the broker has the last value of every key."""
    create_topic(compacting.bootstrap, "killed", 1, TOPIC)
    sent = []
    for turn in range(5):
        lot = rounds(40, first=turn * 40)
        produce(compacting, "killed", lot)
        sent += lot
        compacting.kill9()
        compacting.start()
        check(compacting, "killed", sent)
    wait_until(lambda: compacted_records(compacting, "killed") < 3_000, "the log to be compacted", PATIENCE_S)
    compacting.kill9()
    compacting.start()
    check(compacting, "killed", sent)
