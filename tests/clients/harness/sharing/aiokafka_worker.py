"""aiokafka as a member; see worker.py.

It rebalances in the background: a lock keeps partitions from going between reading and committing, and what was read of
partitions that are about to go is left to whom they go to. The lock is not held in a poll, which waits for the end of a
rebalance.
"""

import asyncio
import time

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from aiokafka.errors import KafkaError

from .worker import Worker

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
}


class AioKafkaWorker(Worker, ConsumerRebalanceListener):
    def run(self):
        asyncio.run(self._run())

    async def _run(self):
        order = self.order
        self.lock, self.moving = asyncio.Lock(), False
        more = {} if order.assignor == "default" else {"partition_assignment_strategy": [ASSIGNORS[order.assignor]]}
        self.consumer = AIOKafkaConsumer(
            bootstrap_servers=order.bootstrap, group_id=order.group, group_instance_id=order.instance,
            auto_offset_reset="earliest", enable_auto_commit=False, heartbeat_interval_ms=500,
            session_timeout_ms=order.session_ms, metadata_max_age_ms=order.metadata_ms, fetch_max_wait_ms=100, **more,
        )  # fmt: skip
        self.consumer.subscribe(topics=order.topics or (), pattern=order.pattern, listener=self)
        await self.consumer.start()
        self.tell("started")
        while not self.ended():
            polled = await self.consumer.getmany(timeout_ms=200)
            if self.moving:
                continue
            async with self.lock:
                self.processed((p.topic, p.partition, r.offset) for p, batch in polled.items() for r in batch)
                await self._commit()
        self.tell("closing")
        await self.consumer.stop()

    async def _commit(self):
        if not self.pending.offsets:
            return
        began, failed = time.time(), None
        try:
            await self.consumer.commit({TopicPartition(*p): offset for p, offset in self.pending.offsets.items()})
        except KafkaError as error:
            failed = error
        self.committed(began, failed)

    async def on_partitions_assigned(self, assigned):
        self.moving = False
        self.came([tuple(p) for p in assigned])

    async def on_partitions_revoked(self, revoked):
        self.moving = True
        async with self.lock:
            await self._commit()
            self.went([tuple(p) for p in revoked])
