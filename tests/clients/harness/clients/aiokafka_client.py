"""aiokafka (asyncio)."""

import asyncio

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from ..records import Read, Sees
from ..wait import PATIENCE_S
from .base import Client, ThreadMember


def _read(r) -> Read:
    return Read(
        value=r.value, key=r.key, headers=tuple(r.headers), timestamp=r.timestamp, partition=r.partition,
        offset=r.offset, timestamp_type=r.timestamp_type,
    )  # fmt: skip


class AioKafka(Client):
    name = "aiokafka"
    sets = Sees(both_null=False)  # its send() refuses these

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        async def run():
            producer = AIOKafkaProducer(
                bootstrap_servers=bootstrap,
                compression_type=None if compression == "none" else compression,
                acks=1 if acks == "1" else "all",
                enable_idempotence=idempotent and acks != "1",
                linger_ms=20,
                max_batch_size=batch_bytes,
                max_request_size=64 << 20,
            )
            await producer.start()
            try:
                sent = [
                    await producer.send(
                        topic, value=r.value, key=r.key, partition=r.partition, headers=list(r.headers),
                        timestamp_ms=r.timestamp if r.timestamp >= 0 else None,
                    )
                    for r in records
                ]  # fmt: skip
                return [metadata.offset for metadata in await asyncio.gather(*sent)]
            finally:
                await producer.stop()

        return asyncio.run(asyncio.wait_for(run(), 2 * PATIENCE_S))

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        async def run():
            consumer = AIOKafkaConsumer(
                bootstrap_servers=bootstrap, enable_auto_commit=False, max_partition_fetch_bytes=8 << 20
            )
            await consumer.start()
            try:
                # Not partitions_for_topic: that knows only the topics that the consumer asked about already.
                metadata = await consumer._client.fetch_all_metadata()
                partitions = [TopicPartition(topic, p) for p in metadata.partitions_for_topic(topic)]
                consumer.assign(partitions)
                await consumer.seek_to_beginning(*partitions)
                reads, deadline = [], asyncio.get_running_loop().time() + timeout_s
                while len(reads) < count and asyncio.get_running_loop().time() < deadline:
                    for batch in (await consumer.getmany(timeout_ms=500)).values():
                        reads.extend(map(_read, batch))
                return reads
            finally:
                await consumer.stop()

        return asyncio.run(run())

    def member(self, bootstrap, topic, group):
        return _Member(bootstrap, topic, group)._start()


class _Member(ThreadMember):
    def __init__(self, bootstrap, topic, group):
        super().__init__()
        self.arguments = bootstrap, topic, group

    def _loop(self):
        asyncio.run(self._consume(*self.arguments))

    async def _consume(self, bootstrap, topic, group):
        consumer = AIOKafkaConsumer(
            topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
            auto_commit_interval_ms=1000, heartbeat_interval_ms=500, session_timeout_ms=10_000,
            rebalance_timeout_ms=10_000,
        )  # fmt: skip
        await consumer.start()
        try:
            while not self._stop.is_set():
                for batch in (await consumer.getmany(timeout_ms=200)).values():
                    self._add(map(_read, batch))
        finally:
            await consumer.stop()  # commits and leaves
