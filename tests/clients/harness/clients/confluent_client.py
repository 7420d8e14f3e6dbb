"""confluent-kafka (librdkafka)."""

import time

from confluent_kafka import OFFSET_BEGINNING, TIMESTAMP_CREATE_TIME, Consumer, KafkaException, Producer, TopicPartition

from ..records import CREATE_TIME, LOG_APPEND_TIME, Read
from ..wait import PATIENCE_S
from .base import Client, ThreadMember


def _read(m) -> Read:
    if m.error():
        raise KafkaException(m.error())
    kind, timestamp = m.timestamp()
    return Read(
        value=m.value(), key=m.key(), headers=tuple(m.headers() or ()), timestamp=timestamp, partition=m.partition(),
        offset=m.offset(), timestamp_type=CREATE_TIME if kind == TIMESTAMP_CREATE_TIME else LOG_APPEND_TIME,
    )  # fmt: skip


class Confluent(Client):
    name = "confluent-kafka"

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        producer = Producer({
            "bootstrap.servers": bootstrap,
            "compression.type": compression,
            "acks": acks,
            "enable.idempotence": idempotent and acks == "all",
            "linger.ms": 20,
            "batch.size": batch_bytes,
            "batch.num.messages": 10_000,
            "message.max.bytes": 64 << 20,
            "message.timeout.ms": int(PATIENCE_S * 1000),
            "queue.buffering.max.messages": 1_000_000,
        })  # fmt: skip
        offsets: list = [None] * len(records)

        def delivered(i):
            def report(error, message):
                offsets[i] = KafkaException(error) if error else message.offset()

            return report

        for i, r in enumerate(records):
            more = {"timestamp": r.timestamp} if r.timestamp >= 0 else {}
            producer.produce(
                topic, value=r.value, key=r.key, partition=r.partition, headers=list(r.headers),
                on_delivery=delivered(i), **more,
            )  # fmt: skip
            producer.poll(0)
        producer.flush(PATIENCE_S)
        for offset in offsets:
            if isinstance(offset, KafkaException):
                raise offset
        assert None not in offsets, "records without a delivery report"
        return offsets

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": "unused-by-assign",
            "enable.auto.commit": False,
            "fetch.message.max.bytes": 8 << 20,
        })  # fmt: skip
        try:
            partitions = consumer.list_topics(topic, PATIENCE_S).topics[topic].partitions
            consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in partitions])
            reads, deadline = [], time.monotonic() + timeout_s
            while len(reads) < count and time.monotonic() < deadline:
                reads.extend(map(_read, consumer.consume(min(10_000, count - len(reads)), 0.5)))
            return reads
        finally:
            consumer.close()

    def member(self, bootstrap, topic, group):
        return _Member(bootstrap, topic, group)._start()


class _Member(ThreadMember):
    def __init__(self, bootstrap, topic, group):
        super().__init__()
        self.consumer = Consumer({
            "bootstrap.servers": bootstrap,
            "group.id": group,
            "auto.offset.reset": "earliest",
            "auto.commit.interval.ms": 1000,
            "heartbeat.interval.ms": 500,
            "session.timeout.ms": 10_000,
        })  # fmt: skip
        self.consumer.subscribe([topic])

    def _loop(self):
        while not self._stop.is_set():
            self._add(map(_read, self.consumer.consume(1000, 0.2)))
        self.consumer.close()  # commits and leaves
