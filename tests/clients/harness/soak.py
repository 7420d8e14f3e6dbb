"""What a soak is made of: a steady producer that times itself, a group that checks what it reads, and clients that come
and go. Each runs in threads of its own, between `with` and its end, and `check` raises what went wrong in them.
"""

import itertools
import random
import socket
import struct
import threading
import time

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition

from . import wire

VALUE_BYTES = 1024
FLUSH_S = 120.0
HEADER = struct.Struct(">Q")


class Part:
    """Threads, and what ended one of them."""

    def __init__(self):
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self.threads: list[threading.Thread] = []

    def run(self, *targets):
        self.threads = [threading.Thread(target=self._guarded, args=(target,), daemon=True) for target in targets]
        for thread in self.threads:
            thread.start()

    def _guarded(self, target):
        try:
            target()
        except BaseException as e:
            self.failure = e

    def check(self):
        if self.failure is not None:
            raise AssertionError(f"{type(self).__name__}: {self.failure!r}") from self.failure

    def stop(self):
        self.ended.set()
        for thread in self.threads:
            thread.join(FLUSH_S)
        self.check()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        if kind is None:
            self.stop()


class SteadyProducer(Part):
    """So many records a second, each with its number within its partition, idempotent, with acks=all.

    Latency is from handing a record to the library until its acknowledgement came out of it, lingering included (none).
    """

    def __init__(self, bootstrap: str, topic: str, partitions: int, rate: int, keys: int | None = None):
        super().__init__()
        self.bootstrap, self.topic, self.partitions, self.rate, self.keys = bootstrap, topic, partitions, rate, keys
        self.acknowledged: dict[int, int] = {}  # by partition: the offset behind the last
        self.counts = 0
        self.latencies: list[float] = []
        self.config = {
            "bootstrap.servers": bootstrap, "enable.idempotence": True, "linger.ms": 0, "message.timeout.ms": 120_000,
            "log_level": 0,
        }  # fmt: skip
        self.run(self._produce)

    def _produce(self):
        producer = Producer(self.config)
        numbers = [itertools.count() for _ in range(self.partitions)]
        filler = random.Random(1).randbytes(VALUE_BYTES - HEADER.size)
        began, sent = time.monotonic(), 0
        while not self.ended.is_set():
            due = int((time.monotonic() - began) * self.rate)
            while sent < due:
                partition = sent % self.partitions
                key = None if self.keys is None else str(random.randrange(self.keys))
                value = HEADER.pack(next(numbers[partition])) + filler
                at = time.monotonic()
                try:
                    producer.produce(self.topic, value, key, partition, on_delivery=self._delivered(at))
                except BufferError:
                    producer.poll(0.1)
                    numbers[partition] = itertools.count(HEADER.unpack_from(value)[0])
                    continue
                sent += 1
            producer.poll(0.002)
        left = producer.flush(FLUSH_S)
        assert left == 0, f"{left} records without an acknowledgement"

    def _delivered(self, at: float):
        def delivered(error, message):
            if error is not None:
                raise KafkaException(error)
            self.latencies.append(time.monotonic() - at)
            self.acknowledged[message.partition()] = message.offset() + 1
            self.counts += 1

        return delivered

    def take_latencies(self) -> list[float]:
        taken, self.latencies = self.latencies, []
        return taken

    def acknowledged_total(self) -> int:
        return self.counts

    def log_start(self) -> int:
        """Of the partition from which most has gone."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "watermarks", "log_level": 0})
        try:
            starts = [
                consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=30) for p in range(self.partitions)
            ]
            return max(start for start, _ in starts)
        except KafkaException:
            return 0
        finally:
            consumer.close()


class Reader(Part):
    """A group of one member that commits as it goes. Numbers rise in each partition, without a gap where nothing is compacted
    away."""

    def __init__(self, bootstrap: str, topic: str):
        super().__init__()
        self.topic, self.gapless = topic, not topic.endswith("compacted")
        self.positions: dict[int, int] = {}
        self.count = 0
        self.consumer = Consumer(
            {
                "bootstrap.servers": bootstrap, "group.id": f"soak-{topic}", "auto.offset.reset": "earliest",
                "enable.auto.commit": True, "auto.commit.interval.ms": 1000, "log_level": 0,
            }
        )  # fmt: skip
        self.run(self._read)

    def _read(self):
        self.consumer.subscribe([self.topic])
        last: dict[int, int] = {}
        while not self.ended.is_set():
            for message in self.consumer.consume(500, timeout=0.2):
                if message.error():
                    continue  # a leader that has gone: the library finds the next
                partition, (number,) = message.partition(), HEADER.unpack_from(message.value())
                before = last.get(partition, -1)
                right = number == before + 1 if self.gapless else number > before
                assert right, f"{self.topic}-{partition} at offset {message.offset()}: {number} after {before}"
                last[partition] = number
                self.positions[partition] = message.offset() + 1
                self.count += 1
        self.consumer.close()

    def has_read(self, acknowledged: dict[int, int]) -> bool:
        self.check()
        return all(self.positions.get(partition, 0) >= end for partition, end in acknowledged.items())


class Churn(Part):
    """Clients that come and go twice a second: producers, members of groups, and connections that break off."""

    EVERY_S = 0.5
    TOPIC = "churn"

    def __init__(self, bootstrap: str, addresses):
        super().__init__()
        self.bootstrap, self.addresses = bootstrap, addresses
        self.counts = {"producers": 0, "members": 0, "broken": 0}
        self.run(self._producers, self._members, self._broken)

    def _turns(self):
        for turn in itertools.count():
            if self.ended.wait(self.EVERY_S):
                return
            yield turn

    def _producers(self):
        for _ in self._turns():
            producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
            for i in range(20):
                producer.produce(self.TOPIC, b"x" * 200, str(i))
            # Without an end: a broker that is just restarting is waited for.
            assert producer.flush(FLUSH_S) == 0, "a record of a short-lived producer was not taken"
            self.counts["producers"] += 1

    def _members(self):
        for turn in self._turns():
            consumer = Consumer(
                {
                    "bootstrap.servers": self.bootstrap, "group.id": f"churn-{turn % 20}", "log_level": 0,
                    "group.protocol": "consumer" if turn % 2 else "classic", "auto.offset.reset": "latest",
                }
            )  # fmt: skip
            consumer.subscribe([self.TOPIC])
            deadline = time.monotonic() + 5
            while not consumer.assignment() and time.monotonic() < deadline and not self.ended.is_set():
                consumer.poll(0.1)
            consumer.poll(0.2)
            if turn % 3:
                consumer.close()
            # Otherwise it is gone without a word, and its session ends some time.
            self.counts["members"] += 1

    def _broken(self):
        half = wire.frame(wire.header(wire.METADATA, 1, 1) + wire.int32(-1))[:-2]
        for turn in self._turns():
            try:
                with socket.create_connection(self.addresses[turn % len(self.addresses)], timeout=5) as s:
                    s.sendall(half if turn % 2 else b"GET / HTTP/1.1\r\n\r\n")
            except OSError:
                continue  # it is just restarting
            self.counts["broken"] += 1
