"""Producers that keep writing while the broker is killed under them, and know what was acknowledged.

Every value is made from (producer, partition, sequence number) alone, so that what is read back can be checked without
having kept it. A producer is closed only when all it sent is acknowledged.
"""

import hashlib
import threading
import time
import zlib
from collections import defaultdict
from dataclasses import dataclass, field

from confluent_kafka import Producer
from kafka import KafkaProducer

from .wait import PATIENCE_S

# Records a producer may have unacknowledged: keeps it in step with the broker, also while that is down.
WINDOW = 200
DELIVERY_TIMEOUT_MS = 10 * 60 * 1000


def value_of(name: str, partition: int, sequence: int) -> bytes:
    """A head to parse and a filler of 0 to 2 KiB that depends on it and does not compress."""
    head = f"{name}:{partition}:{sequence}:".encode()
    return head + hashlib.shake_128(head).digest(zlib.crc32(head) % 2048)


def sequence_of(value: bytes, name: str, partition: int) -> int:
    """The sequence number in a value; fails when a single byte of it is not as it was sent."""
    sequence = int(value.split(b":", 3)[2])
    assert value == value_of(name, partition, sequence), f"altered bytes in {value[:60]!r}"
    return sequence


@dataclass
class Loader:
    """One producer in a thread of its own, writing round-robin to all partitions of its own topic."""

    name: str
    topic: str
    partitions: int
    sent: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # partition -> records handed over
    acked: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))  # -> sequence -> offset
    failures: list = field(default_factory=list)

    def __post_init__(self):
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._guarded, daemon=True)
        self._lock = threading.Lock()
        self._in_flight = 0
        self._abandoned = False

    def start(self):
        self._thread.start()
        return self

    def acknowledged(self) -> int:
        with self._lock:
            return sum(map(len, self.acked.values()))

    def snapshot(self) -> dict[int, int]:
        """Partition -> the highest acknowledged offset."""
        with self._lock:
            return {p: max(offsets.values()) for p, offsets in self.acked.items() if offsets}

    def finish(self):
        """No more new records; waits until all are acknowledged."""
        self._stop.set()
        self._thread.join(5 * PATIENCE_S)
        assert not self._thread.is_alive(), f"{self.name}: not everything was acknowledged in time"
        self.check()

    def abandon(self):
        """For a test that failed: ends the thread without waiting for what is still under way."""
        self._stop.set()
        self._abandoned = True
        self._thread.join(PATIENCE_S)

    def check(self):
        assert not self.failures, f"{self.name}: {self.failures[:3]}"

    def _guarded(self):
        try:
            self._run()
        except BaseException as e:  # shown by check()
            self.failures.append(e)

    def _run(self):
        self._open()
        partition = 0
        while not self._stop.is_set() and not self.failures:
            if self._in_flight >= WINDOW:
                self._wait()
                continue
            sequence = self.sent[partition]
            with self._lock:
                self._in_flight += 1
            self._send(partition, sequence, value_of(self.name, partition, sequence))
            self.sent[partition] += 1
            partition = (partition + 1) % self.partitions
        self._drop() if self._abandoned else self._close()

    def _done(self, partition, sequence, offset, error=None):
        with self._lock:
            self._in_flight -= 1
            if error is not None:
                self.failures.append(f"partition {partition}, record {sequence}: {error}")
            elif sequence in self.acked[partition]:
                self.failures.append(f"partition {partition}, record {sequence}: acknowledged twice")
            else:
                self.acked[partition][sequence] = offset

    # What a client library has to fill in.
    bootstrap: str = ""

    def _open(self):
        raise NotImplementedError

    def _send(self, partition, sequence, value):
        raise NotImplementedError

    def _wait(self):
        raise NotImplementedError

    def _close(self):
        """Waits for what is under way, then ends."""
        raise NotImplementedError

    def _drop(self):
        """Ends without waiting."""
        raise NotImplementedError


@dataclass
class ConfluentLoader(Loader):
    acks: str = "all"
    idempotent: bool = True
    compression: str = "none"

    def _open(self):
        self.producer = Producer({
            "bootstrap.servers": self.bootstrap,
            "acks": self.acks,
            "enable.idempotence": self.idempotent,
            # Without idempotence only one request at a time keeps the order over retries.
            "max.in.flight.requests.per.connection": 5 if self.idempotent else 1,
            "compression.type": self.compression,
            "linger.ms": 2,
            "message.timeout.ms": DELIVERY_TIMEOUT_MS,
            "reconnect.backoff.max.ms": 300,
            "log_level": 0,  # a broker that is down is the point
        })  # fmt: skip

    def _send(self, partition, sequence, value):
        def delivered(error, message):
            self._done(partition, sequence, message.offset(), error)

        self.producer.produce(self.topic, value, partition=partition, on_delivery=delivered)
        self.producer.poll(0)

    def _wait(self):
        self.producer.poll(0.05)

    def _close(self):
        self.producer.flush(4 * PATIENCE_S)

    def _drop(self):
        self.producer.purge()
        self.producer.flush(1)


@dataclass
class KafkaPythonLoader(Loader):
    def _open(self):
        self.producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True, linger_ms=2,
            delivery_timeout_ms=DELIVERY_TIMEOUT_MS, reconnect_backoff_max_ms=300, retry_backoff_ms=50,
        )  # fmt: skip

    def _send(self, partition, sequence, value):
        future = self.producer.send(self.topic, value, partition=partition)
        future.add_callback(lambda metadata: self._done(partition, sequence, metadata.offset))
        future.add_errback(lambda error: self._done(partition, sequence, None, error))

    def _wait(self):
        time.sleep(0.005)  # its sender has a thread of its own

    def _close(self):
        self.producer.flush(4 * PATIENCE_S)
        self.producer.close()

    def _drop(self):
        self.producer.close(timeout=0)
