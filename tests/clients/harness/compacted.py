"""Compacted logs: what is sent to one, what of it must be there, and whether a compaction has been there.

Partition 0 of a topic. A log's model is the list of all records sent, each at its offset.
"""

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from .records import Record
from .stored import batches

SEGMENT_BYTES = 1 << 20  # the smallest that Kafka allows
KEYS = 50
VALUE = bytes(2_000)
# Of the topic: cleaned whenever a segment is dirty, tombstones gone by the pass after the one that meets them.
CONFIGS = {
    "cleanup.policy": "compact", "segment.bytes": str(SEGMENT_BYTES), "min.cleanable.dirty.ratio": "0.01",
    "delete.retention.ms": "0",
}  # fmt: skip
# Of brokers: they look for dirty logs several times a second.
SETTINGS = {"log.cleaner.backoff.ms": "200"}


def rounds(number, first=0) -> list[Record]:
    """Every key so often, with a value that says when."""
    return [
        Record(key=b"key-%d" % key, value=b"%d " % turn + VALUE) for turn in range(first, first + number)
        for key in range(KEYS)
    ]  # fmt: skip


def stored_records(broker, topic) -> int:
    """Number of records that the leader has."""
    return sum(b.count for b in batches(broker, topic))


def read_all(bootstrap, topic) -> list[tuple]:
    """(offset, key, value) of every record, as a consumer from the start sees them."""
    consumer = Consumer({
        "bootstrap.servers": bootstrap, "group.id": "reader", "enable.auto.commit": False, "enable.partition.eof": True,
    })  # fmt: skip
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
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


def check(found: list[tuple], sent: list[Record], start=0):
    """What was found is a part of what was sent, in order and each at its offset, with the last value of every key, where
    that is at or behind the log start offset `start`."""
    assert [offset for offset, _, _ in found] == sorted({offset for offset, _, _ in found})
    for offset, key, value in found:
        assert (key, value) == (sent[offset].key, sent[offset].value), offset
    there = {offset for offset, _, _ in found}
    last = {record.key: offset for offset, record in enumerate(sent) if offset >= start}
    missing = [key for key, offset in last.items() if offset not in there and sent[offset].value is not None]
    assert not missing, f"the last value of {missing[:3]} is gone"
