"""confluent-kafka (librdkafka) as a member; see worker.py."""

import time

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .worker import Worker


class ConfluentWorker(Worker):
    def run(self):
        order = self.order
        settings = {
            "bootstrap.servers": order.bootstrap,
            "group.id": order.group,
            "group.protocol": order.protocol,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "topic.metadata.refresh.interval.ms": order.metadata_ms,
            "fetch.wait.max.ms": 100,
        }
        if order.protocol == "classic":  # the others are the broker's affair
            settings |= {"heartbeat.interval.ms": 500, "session.timeout.ms": order.session_ms}
            if order.assignor != "default":
                settings["partition.assignment.strategy"] = order.assignor
        elif order.assignor != "default":
            settings["group.remote.assignor"] = order.assignor
        if order.instance:
            settings["group.instance.id"] = order.instance
        self.consumer = Consumer(settings)
        self.consumer.subscribe(
            order.topics or [order.pattern], on_assign=self._assigned, on_revoke=self._revoked, on_lost=self._lost
        )
        self.tell("started")
        while not self.ended():
            self._process(self.consumer.consume(500, 0.2))
            self._commit()
        self.tell("closing")
        self.consumer.close()

    def _process(self, messages):
        # What it says of a session that ended or of a topic that is only being made, it mends by itself.
        errors = [m.error() for m in messages if m.error()]
        for error in errors:
            if error.code() not in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._MAX_POLL_EXCEEDED):
                self.tell("error", error=str(error))
        self.processed((m.topic(), m.partition(), m.offset()) for m in messages if not m.error())

    def _commit(self):
        if not self.pending.offsets:
            return
        began, failed = time.time(), None
        try:
            offsets = [TopicPartition(topic, p, offset) for (topic, p), offset in self.pending.offsets.items()]
            for answer in self.consumer.commit(offsets=offsets, asynchronous=False):
                if answer.error:
                    failed = KafkaException(answer.error)
        except KafkaException as error:
            failed = error
        self.committed(began, failed)

    def _assigned(self, _, partitions):
        self.came([(p.topic, p.partition) for p in partitions])

    def _revoked(self, _, partitions):
        self._commit()
        self.went([(p.topic, p.partition) for p in partitions])

    def _lost(self, _, partitions):
        self.went([(p.topic, p.partition) for p in partitions], "lost")
