"""Producers that keep writing while brokers are killed under them, and know what was acknowledged.

Every value is made from (producer, partition, sequence number) alone, so that what is read back can be checked without
having kept it. A producer is closed only when all it sent is acknowledged.
"""

import base64
import hashlib
import json
import subprocess
import threading
import time
import zlib
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from confluent_kafka import Producer
from kafka import KafkaProducer

from . import paths
from .broker import java
from .wait import PATIENCE_S, wait_until

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


def assert_exactly_once(where: str, found: dict[int, int], acked: dict[int, int], sent: int):
    """An idempotent producer that has ended, in one partition: what is stored (offset -> sequence number) is all that
    was acknowledged (sequence number -> offset), once, in the order of sending, where it was said to be."""
    assert len(acked) == sent > 0, f"{where}: not all that was sent is acknowledged: {len(acked)} of {sent}"
    lost = sorted(set(acked) - set(found.values()))
    assert not lost, f"{where}: acknowledged records lost: {lost[:10]} of {len(lost)}"
    twice = [n for n, times in Counter(found.values()).items() if times > 1]
    assert not twice, f"{where}: records that are there twice: {twice[:10]} of {len(twice)}"
    assert [found[offset] for offset in sorted(found)] == list(range(sent)), f"{where}: not in the order of sending"
    # A producer that finds a batch stored already, since it had got no answer, may be told no offset.
    misplaced = {n: offset for n, offset in acked.items() if offset >= 0 and found.get(offset) != n}
    assert not misplaced, f"{where}: not at the acknowledged offset: {list(misplaced.items())[:5]}"


@dataclass
class Loader:
    """One producer in a thread of its own, writing round-robin to all partitions of its own topic."""

    name: str
    topic: str
    partitions: int
    sent: dict[int, int] = field(default_factory=lambda: defaultdict(int))  # partition -> records handed over
    acked: dict[int, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))  # -> sequence -> offset
    failures: list = field(default_factory=list)
    per_second: float | None = None  # records at most, where a test is about faults and not about speed
    own_patience: bool = False  # the client library's own time-outs and pauses instead of this module's

    def __post_init__(self):
        self.pause_s = 0.0  # the longest time without an acknowledgement, since `begin_pause`
        self._acked_at: float | None = None
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

    def acknowledged_in(self, partition: int) -> int:
        with self._lock:
            return len(self.acked[partition])

    def acknowledged_by_partition(self) -> list[int]:
        return [self.acknowledged_in(p) for p in range(self.partitions)]

    def begin_pause(self):
        """From now on `pause_s` is measured anew."""
        with self._lock:
            self.pause_s = 0.0

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
        partition, total, began = 0, 0, time.monotonic()
        while not self._stop.is_set() and not self.failures:
            ahead = self.per_second and total > self.per_second * (time.monotonic() - began)
            if self._in_flight >= WINDOW or ahead:
                self._wait()
                continue
            sequence = self.sent[partition]
            with self._lock:
                self._in_flight += 1
            self._send(partition, sequence, value_of(self.name, partition, sequence))
            self.sent[partition] += 1
            total += 1
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
                now = time.monotonic()
                self.pause_s = max(self.pause_s, now - (self._acked_at or now))
                self._acked_at = now

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
        patience = {"message.timeout.ms": DELIVERY_TIMEOUT_MS, "reconnect.backoff.max.ms": 300}
        self.producer = Producer({
            "bootstrap.servers": self.bootstrap,
            "acks": self.acks,
            "enable.idempotence": self.idempotent,
            # Without idempotence only one request at a time keeps the order over retries.
            "max.in.flight.requests.per.connection": 5 if self.idempotent else 1,
            "compression.type": self.compression,
            "linger.ms": 2,
            "log_level": 0,  # a broker that is down is the point
            **({} if self.own_patience else patience),
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
        patience = {
            "delivery_timeout_ms": DELIVERY_TIMEOUT_MS, "reconnect_backoff_max_ms": 300, "retry_backoff_ms": 50,
        }  # fmt: skip
        self.producer = KafkaProducer(
            bootstrap_servers=self.bootstrap, acks="all", enable_idempotence=True, linger_ms=2,
            **({} if self.own_patience else patience),
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


@dataclass
class FranzLoader(Loader):
    """franz-go, whose time-outs are its own in any case: records are tried again for ever."""

    def _open(self):
        command = [str(paths.FRANZ), "load", "-brokers", self.bootstrap, "-topic", self.topic]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self._reports = threading.Thread(target=self._read_reports, daemon=True)
        self._reports.start()

    def _read_reports(self):
        for line in self.process.stdout:
            report = json.loads(line)
            self._done(report["p"], report["n"], report["o"], report.get("e"))

    def _send(self, partition, sequence, value):
        line = {"p": partition, "n": sequence, "v": base64.b64encode(value).decode()}
        self.process.stdin.write(json.dumps(line).encode() + b"\n")
        self.process.stdin.flush()

    def _wait(self):
        time.sleep(0.005)  # reports are read by a thread of their own

    def _close(self):
        self.process.stdin.close()
        try:
            self.process.wait(4 * PATIENCE_S)
        finally:
            self._drop()

    def _drop(self):
        self.process.kill()
        self.process.wait()
        self._reports.join(PATIENCE_S)


@dataclass
class JavaLoader(Loader):
    """Kafka's own producer with all of its defaults, in its VerifiableProducer: to one partition, and its values are the
    sequence numbers alone. It takes `retries` away, which it is given back here, and idempotence comes with it."""

    def __post_init__(self):
        super().__post_init__()
        assert self.partitions == 1, "it chooses partitions itself"

    def _run(self):
        command = java(
            "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", self.bootstrap, "--topic", self.topic,
            "--throughput", str(int(self.per_second or -1)), "--command-config", "/dev/stdin",
        )  # fmt: skip
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._end_when_told, daemon=True).start()
        self.process.stdin.write(b"retries=2147483647\n")
        self.process.stdin.close()
        for line in self.process.stdout:
            event = json.loads(line)
            if event["name"] == "producer_send_success":
                self._done(event["partition"], int(event["value"]), event["offset"])
            elif event["name"] == "producer_send_error" and "IllegalState" not in event["exception"]:
                self._done(0, int(event["value"]), None, f"{event['exception']}: {event['message']}")
            # What it wants to send after it was closed is refused by itself, and not sent.
        self.process.wait()
        self.sent[0] = len(self.acked[0])  # of all that it sent it tells

    def _end_when_told(self):
        """SIGTERM has it wait for what is under way."""
        self._stop.wait()
        self.process.kill() if self._abandoned else self.process.terminate()

    def abandon(self):
        self._abandoned = True
        super().abandon()


def wait_progress(loaders: list[Loader], when: str, timeout_s: float):
    """Until every partition of these has had more acknowledged than can have been under way."""
    targets = [[n + WINDOW + 1 for n in loader.acknowledged_by_partition()] for loader in loaders]

    def moved_on():
        for loader in loaders:
            loader.check()
        moved_on.last = {loader.name: loader.acknowledged_by_partition() for loader in loaders}
        return all(
            n >= target
            for loader, wanted in zip(loaders, targets)
            for n, target in zip(moved_on.last[loader.name], wanted)
        )

    moved_on.last = {}
    try:
        wait_until(moved_on, f"records to be acknowledged {when}", timeout_s, poll_s=0.02)
    except AssertionError as e:
        raise AssertionError(f"{e}; of {targets} there were {moved_on.last}") from None
