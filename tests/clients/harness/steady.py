"""Producers that send at a steady pace with their libraries' default settings, and note when each record was
acknowledged.

For measurements: what a client sees of a broker that fails. Times are of this process's monotonic clock, at the
moment the acknowledgement has come out of the library. Each writes to partition 0 of a topic of its own. Absent:
checks of what was stored, which `load.py` is for.
"""

import json
import subprocess
import threading
import time
from bisect import bisect_right
from collections import Counter

from confluent_kafka import Producer

from . import quorum, wire
from .batch import batch
from .broker import java
from .quorum import Unanswered
from .wait import PATIENCE_S, wait_until

VALUE = b"v" * 100


class Steady:
    """One producer in a thread of its own."""

    name: str

    def __init__(self, bootstrap: str, topic: str, per_second: int):
        self.bootstrap, self.topic, self.per_second = bootstrap, topic, per_second
        self.acknowledged: list[float] = []  # when; appended to by one thread, so that it is in order
        self.errors: list[tuple[float, str]] = []  # when, and what the application was told
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self._guarded, daemon=True)

    def start(self) -> "Steady":
        self.thread.start()
        return self

    def stop(self):
        """Ends it without waiting for what is under way."""
        self.stopping.set()
        self._end()
        self.thread.join(PATIENCE_S)

    def wait_acknowledged(self, count: int, timeout_s=PATIENCE_S):
        """Until so many more are acknowledged."""
        target = len(self.acknowledged) + count
        wait_until(
            lambda: len(self.acknowledged) >= target, f"{count} acknowledgements to {self.name} ({self.errors[-3:]})",
            timeout_s, poll_s=0.01,
        )  # fmt: skip

    def has_gone_on(self, since: float) -> bool:
        """Whether a good many were acknowledged after this moment: more than can have been under way."""
        return len(self.acknowledged) - bisect_right(self.acknowledged, since) > self._many

    def gap(self, since: float) -> tuple[float, float]:
        """The longest time without an acknowledgement between `since` and when it had gone on: its begin and its end."""
        at = bisect_right(self.acknowledged, since)
        times = self.acknowledged[max(0, at - 1) : at + self._many]
        times += [] if len(times) > self._many else [time.monotonic()]
        return max(zip(times, times[1:]), key=lambda pair: pair[1] - pair[0])

    def errors_after(self, since: float) -> list[str]:
        return [error for at, error in self.errors if at >= since]

    def _failed(self, error: str):
        self.errors.append((time.monotonic(), error))

    def by_second(self, since: float) -> list[int]:
        """Acknowledgements in each second from then on."""
        counts = Counter(int(at - since) for at in self.acknowledged if at >= since)
        return [counts[second] for second in range(max(counts, default=-1) + 1)]

    @property
    def _many(self) -> int:
        return self.per_second // 2

    def _guarded(self):
        try:
            self._run()
        except BaseException as e:
            self._failed(f"{type(e).__name__}: {e}")
            if not self.stopping.is_set():
                raise

    def _run(self):
        raise NotImplementedError

    def _end(self):
        """What a thread that waits for something needs to be ended."""


class ConfluentSteady(Steady):
    """librdkafka. acks is all by default."""

    name = "librdkafka"

    def _run(self):
        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        began, sent = time.monotonic(), 0
        while not self.stopping.is_set():
            while sent < (time.monotonic() - began) * self.per_second:
                producer.produce(self.topic, VALUE, partition=0, on_delivery=self._delivered)
                sent += 1
            producer.poll(0.001)
        producer.purge()
        producer.flush(1)

    def _delivered(self, error, _message):
        if error is None:
            self.acknowledged.append(time.monotonic())
        elif not self.stopping.is_set():
            self._failed(str(error))


class JavaSteady(Steady):
    """Kafka's own producer, in its VerifiableProducer, which prints a line for each record.

    That sets `retries` to 0, which is put back to what the producer has by default (and idempotence with it).
    """

    name = "java"

    def _run(self):
        command = java(
            "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", self.bootstrap, "--topic", self.topic,
            "--throughput", str(self.per_second), "--command-config", "/dev/stdin",
        )  # fmt: skip
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL)
        self.process.stdin.write(b"retries=2147483647\n")
        self.process.stdin.close()
        for line in self.process.stdout:
            now, event = time.monotonic(), json.loads(line)
            if event["name"] == "producer_send_success":
                self.acknowledged.append(now)
            elif event["name"] == "producer_send_error" and not self.stopping.is_set():
                self._failed(f"{event.get('exception')}: {event.get('message')}")
        self.process.wait()

    def _end(self):
        self.process.kill()


class ProbeSteady(Steady):
    """No library's patience: one record at a time over a plain socket, with short time-outs, to whoever leads by the word of
    brokers that the fault does not touch. What it sees is how long the partition itself took no writes."""

    name = "probe"
    ATTEMPT_S = 0.25

    def __init__(self, bootstrap: str, topic: str, per_second: int, addresses: dict[int, quorum.Address], victim: int):
        super().__init__(bootstrap, topic, per_second)
        self.addresses = addresses
        self.asked = [address for node_id, address in addresses.items() if node_id != victim]

    def _run(self):
        turn = 0
        while not self.stopping.is_set():
            try:
                leader = quorum.partitions(self.asked[turn % 2], self.topic, timeout_s=self.ATTEMPT_S)[0].leader
                with wire.Connection(self.addresses[leader], self.ATTEMPT_S) as c:
                    while not self.stopping.is_set():
                        error, _ = wire.produce(
                            c, self.topic, 0, batch([VALUE]), timeout_ms=int(self.ATTEMPT_S * 1000)
                        )
                        if error != wire.NONE:
                            break
                        self.acknowledged.append(time.monotonic())
                        time.sleep(1 / self.per_second)
            except (KeyError, OSError, wire.Closed, Unanswered):
                pass  # nobody leads, or who leads does not answer: asked again
            turn += 1
            time.sleep(0.005)
