"""Consumers that start at a time: the first record they get is the first at or after it."""

import asyncio

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaConsumer
from kafka import TopicPartition as KafkaPythonPartition

from harness.clients import CONFLUENT, kcat_client
from harness.records import T0, Record
from harness.wait import PATIENCE_S, wait_until

pytestmark = pytest.mark.offsets
STEP_MS, RECORDS = 10, 500


def with_confluent(bootstrap, topic, timestamp):
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused-by-assign"})
    try:
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, timestamp)], PATIENCE_S)
        consumer.assign([found])
        message = wait_until(lambda: consumer.poll(0.5), "a record")
        return message.offset(), message.value()
    finally:
        consumer.close()


def with_kafka_python(bootstrap, topic, timestamp):
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        partition = KafkaPythonPartition(topic, 0)
        consumer.assign([partition])
        consumer.seek(partition, consumer.offsets_for_times({partition: timestamp})[partition].offset)
        polled = wait_until(lambda: consumer.poll(timeout_ms=500, max_records=1), "a record")
        (record,) = polled[partition]
        return record.offset, record.value
    finally:
        consumer.close()


def with_aiokafka(bootstrap, topic, timestamp):
    async def run():
        consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
        await consumer.start()
        try:
            partition = AioPartition(topic, 0)
            found = await consumer.offsets_for_times({partition: timestamp})
            consumer.seek(partition, found[partition].offset)
            record = await asyncio.wait_for(consumer.getone(), PATIENCE_S)
            return record.offset, record.value
        finally:
            await consumer.stop()

    return asyncio.run(run())


def with_kcat(bootstrap, topic, timestamp):
    out = kcat_client.run(bootstrap, "-C", "-t", topic, "-p", "0", "-o", f"s@{timestamp}", "-c", "1", "-f", "%o %s")
    offset, value = out.split(b" ")
    return int(offset), value


@pytest.mark.parametrize("seek", [with_confluent, with_kafka_python, with_aiokafka, with_kcat])
def test_seek_to_a_time(seek, broker, topic):
    """In batches of many records the very record is found: at its time, just before and just after it."""
    name = topic()
    sent = [Record(value=b"%d" % i, timestamp=T0 + i * STEP_MS) for i in range(RECORDS)]
    CONFLUENT.produce(broker.bootstrap, name, sent[:300])
    CONFLUENT.produce(broker.bootstrap, name, sent[300:], compression="zstd")
    for n in (0, 1, 123, 299, 300, 444, RECORDS - 1):
        for timestamp in (T0 + n * STEP_MS, T0 + n * STEP_MS - STEP_MS + 1):
            assert seek(broker.bootstrap, name, timestamp) == (n, b"%d" % n), f"the first record from {timestamp}"
