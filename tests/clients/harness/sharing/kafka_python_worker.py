"""kafka-python as a member; see worker.py."""

import time

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor
from kafka.errors import KafkaError

from .worker import Worker

ASSIGNORS = {
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
    "sticky": StickyPartitionAssignor,
    "cooperative-sticky": CooperativeStickyAssignor,
}


class KafkaPythonWorker(Worker, ConsumerRebalanceListener):
    def run(self):
        order = self.order
        more = {} if order.assignor == "default" else {"partition_assignment_strategy": [ASSIGNORS[order.assignor]]}
        self.consumer = KafkaConsumer(
            bootstrap_servers=order.bootstrap, group_id=order.group, group_instance_id=order.instance,
            auto_offset_reset="earliest", enable_auto_commit=False, heartbeat_interval_ms=500,
            session_timeout_ms=order.session_ms, metadata_max_age_ms=order.metadata_ms, fetch_max_wait_ms=100, **more,
        )  # fmt: skip
        self.consumer.subscribe(topics=order.topics or (), pattern=order.pattern, listener=self)
        self.tell("started")
        while not self.ended():
            # Longer than any rebalance takes: see clients/kafka_python_client.py.
            polled = self.consumer.poll(timeout_ms=2000)
            self.processed((p.topic, p.partition, r.offset) for p, batch in polled.items() for r in batch)
            self._commit()
        self.tell("closing")
        self.consumer.close()

    def _commit(self):
        if not self.pending.offsets:
            return
        began, failed = time.time(), None
        try:
            self.consumer.commit(
                {TopicPartition(*p): OffsetAndMetadata(offset, "", -1) for p, offset in self.pending.offsets.items()}
            )
        except KafkaError as error:
            failed = error
        self.committed(began, failed)

    def on_partitions_assigned(self, assigned):
        self.came([tuple(p) for p in assigned])

    def on_partitions_revoked(self, revoked):
        self._commit()
        self.went([tuple(p) for p in revoked])

    def on_partitions_lost(self, lost):
        self.went([tuple(p) for p in lost], "lost")
