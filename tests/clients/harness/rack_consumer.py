"""A consumer in a rack (KIP-392, librdkafka) that can tell which broker its records come from."""

import json

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from .wait import PATIENCE_S, wait_until


class RackConsumer:
    """Reads one partition from offset 0, and knows when it is at the end of what it is shown."""

    def __init__(self, bootstrap: str, topic: str, rack: str | None = None, partition: int = 0):
        self.topic, self.partition = topic, partition
        self.answering: int | None = None
        settings = {
            "bootstrap.servers": bootstrap,
            "group.id": "nobody-commits",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": 100,
            "statistics.interval.ms": 50,
            "stats_cb": self._note,
            "log_level": 0,
        }
        if rack:
            settings["client.rack"] = rack
        self.consumer = Consumer(settings)
        self.seek(0, first=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.consumer.close()

    def _note(self, statistics: str):
        partitions = json.loads(statistics)["topics"].get(self.topic, {}).get("partitions", {})
        if str(self.partition) in partitions:
            self.answering = partitions[str(self.partition)]["broker"]

    def seek(self, offset: int, first=False):
        at = TopicPartition(self.topic, self.partition, offset)
        self.consumer.assign([at]) if first else self.consumer.seek(at)

    def read(self, count: int) -> list[tuple[int, bytes]]:
        """(offset, value) of the next records."""
        found: list[tuple[int, bytes]] = []

        def enough():
            found.extend(self._poll()[0])
            return len(found) >= count

        wait_until(enough, f"{count} records of {self.topic}", poll_s=0)
        return found

    def read_to_end(self) -> tuple[list[tuple[int, bytes]], int]:
        """All up to where the broker says that there is no more for a consumer, and that offset."""
        found: list[tuple[int, bytes]] = []

        def at_end():
            records, end = self._poll()
            found.extend(records)
            return (end,) if end is not None else None

        (end,) = wait_until(at_end, f"the end of {self.topic}", poll_s=0)
        return found, end

    def wait_answered_by(self, broker: int):
        """Until the records that it gets are that broker's. What is read meanwhile is dropped."""

        def answered():
            self._poll()
            return self.answering == broker

        wait_until(answered, f"broker {broker} to answer (now {self.answering})", PATIENCE_S, poll_s=0)

    def _poll(self) -> tuple[list[tuple[int, bytes]], int | None]:
        message = self.consumer.poll(0.1)
        if message is None:
            return [], None
        if message.error() is None:
            return [(message.offset(), message.value())], None
        if message.error().code() == KafkaError._PARTITION_EOF:
            return [], message.offset()
        if message.error().retriable() or message.error().code() in (KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN):
            return [], None
        raise KafkaException(message.error())
