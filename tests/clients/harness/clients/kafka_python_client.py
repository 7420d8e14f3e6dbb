"""kafka-python (pure Python)."""

import time

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from ..records import Read, Sees
from ..wait import PATIENCE_S
from .base import Client, ThreadMember


def _read(r) -> Read:
    return Read(
        value=r.value, key=r.key, headers=tuple(r.headers), timestamp=r.timestamp, partition=r.partition,
        offset=r.offset, timestamp_type=r.timestamp_type,
    )  # fmt: skip


class KafkaPython(Client):
    name = "kafka-python"
    sets = Sees(null_headers=False, both_null=False)  # its send() refuses these

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        producer = KafkaProducer(
            bootstrap_servers=bootstrap,
            compression_type=None if compression == "none" else compression,
            acks=1 if acks == "1" else "all",
            enable_idempotence=idempotent and acks != "1",
            linger_ms=20,
            batch_size=batch_bytes,
            max_request_size=64 << 20,
        )
        try:
            sent = [
                producer.send(
                    topic, value=r.value, key=r.key, headers=list(r.headers), partition=r.partition,
                    timestamp_ms=r.timestamp if r.timestamp >= 0 else None,
                )
                for r in records
            ]  # fmt: skip
            producer.flush(PATIENCE_S)
            return [future.get(PATIENCE_S).offset for future in sent]
        finally:
            producer.close(PATIENCE_S)

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, auto_offset_reset="earliest", enable_auto_commit=False,
            max_partition_fetch_bytes=8 << 20, max_poll_records=100_000,
        )  # fmt: skip
        try:
            partitions = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            reads, deadline = [], time.monotonic() + timeout_s
            while len(reads) < count and time.monotonic() < deadline:
                for batch in consumer.poll(timeout_ms=500).values():
                    reads.extend(map(_read, batch))
            return reads
        finally:
            consumer.close()

    def member(self, bootstrap, topic, group):
        return _Member(bootstrap, topic, group)._start()


class _Member(ThreadMember):
    def __init__(self, bootstrap, topic, group):
        super().__init__()
        self.consumer = KafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
            auto_commit_interval_ms=1000, heartbeat_interval_ms=500, session_timeout_ms=10_000,
        )  # fmt: skip

    def _loop(self):
        while not self._stop.is_set():
            # Longer than any rebalance takes: a poll that ends within one loses the assignment that it would have brought
            # (kafka-python 3.0).
            for batch in self.consumer.poll(timeout_ms=2000).values():
                self._add(map(_read, batch))
        self.consumer.close()  # commits and leaves
