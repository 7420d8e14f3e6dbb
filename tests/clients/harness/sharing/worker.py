"""A member of a consumer group as a process of its own, which can be killed and paused: `python -m harness.sharing.worker`.

One order of JSON on stdin begins it (`Order`), the next line, or the end of stdin, ends it: it commits, leaves and exits.
It processes what a poll brings, commits that and waits for the answer, and polls again, as users of these libraries do. What
cannot be committed is tried again after the next poll, unless the partition has gone by then. When partitions are taken
away it commits before it lets them go.

On stdout it tells what befalls it, a line of JSON each: `m` (its name), `e` (what), `t` (seconds since the epoch), and

    started, closing, closed    closing: all is committed, it owns nothing any more
    assigned, revoked, lost     partitions: [[topic, partition], ...] that come or go; lost are those of others already
    read                        runs: [[topic, partition, first offset, last offset], ...] of one poll
    committed, commit-failed    offsets: [[topic, partition, next offset], ...], began: when it was sent, error
    error                       error: what ends it, or what the library says that it should not

Kafka's Java consumer (java/GroupMembers.java) and franz-go (franz/share.go) speak the same. Absent: any judgement.
"""

import json
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

TopicPartition = tuple[str, int]


@dataclass
class Order:
    """What to be. Of `topics` and `pattern` one is given."""

    m: str
    library: str
    bootstrap: str
    group: str
    assignor: str
    protocol: str = "classic"
    topics: list[str] | None = None
    pattern: str | None = None
    instance: str | None = None
    session_ms: int = 30_000
    metadata_ms: int = 1_000  # how old its view of the topics may grow

    @classmethod
    def parse(cls, line: str) -> "Order":
        values = json.loads(line)
        return cls(**{name: values[name] for name in cls.__dataclass_fields__ if name in values})


class Pending:
    """What was processed and is not committed yet."""

    def __init__(self):
        self.offsets: dict[TopicPartition, int] = {}

    def take(self, runs: list[tuple[str, int, int, int]]):
        for topic, partition, _, last in runs:
            self.offsets[topic, partition] = last + 1

    def forget(self, partitions: list[TopicPartition]):
        for partition in partitions:
            self.offsets.pop(partition, None)


class Teller:
    """Events of one member, to stdout."""

    def __init__(self, name: str):
        self.name = name
        self._lock = threading.Lock()

    def __call__(self, what: str, **fields: Any):
        line = json.dumps({"m": self.name, "e": what, "t": time.time(), **fields}) + "\n"
        with self._lock:
            sys.stdout.write(line)
            sys.stdout.flush()


def runs_of(places) -> list[tuple[str, int, int, int]]:
    """(topic, partition, offset), in the order of reading, as runs of offsets that follow each other."""
    runs: list[tuple[str, int, int, int]] = []
    last: dict[TopicPartition, int] = {}  # -> place in runs
    for topic, partition, offset in places:
        at = last.get((topic, partition))
        if at is not None and runs[at][3] + 1 == offset:
            runs[at] = (*runs[at][:3], offset)
        else:
            last[topic, partition] = len(runs)
            runs.append((topic, partition, offset, offset))
    return runs


class Worker:
    """The part that all libraries have in common; `run` is the library's own loop."""

    def __init__(self, order: Order, stop: threading.Event):
        self.order, self.stop = order, stop
        self.tell = Teller(order.m)
        self.pending = Pending()

    def run(self):
        raise NotImplementedError

    def processed(self, places):
        runs = runs_of(places)
        if runs:
            self.tell("read", runs=runs)
            self.pending.take(runs)

    def ended(self) -> bool:
        """It is to close, and all is committed: in a rebalance a commit may be refused, and is tried again after a poll."""
        return self.stop.is_set() and not self.pending.offsets

    def committed(self, began: float, error: BaseException | None):
        """Tells what became of committing all that is pending."""
        offsets = [[topic, partition, offset] for (topic, partition), offset in self.pending.offsets.items()]
        if error is None:
            self.pending.offsets.clear()
            self.tell("committed", offsets=offsets, began=began)
        else:
            self.tell("commit-failed", offsets=offsets, began=began, error=f"{type(error).__name__}: {error}")

    def came(self, partitions: list[TopicPartition]):
        self.pending.forget(partitions)
        self.tell("assigned", partitions=partitions)

    def went(self, partitions: list[TopicPartition], what="revoked"):
        self.pending.forget(partitions)
        self.tell(what, partitions=partitions)


def main():
    order = Order.parse(sys.stdin.readline())
    stop = threading.Event()

    def wait_for_end():
        sys.stdin.readline()
        stop.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    worker = _workers()[order.library](order, stop)
    try:
        worker.run()
        worker.tell("closed")
    except BaseException as error:
        worker.tell("error", error=f"{type(error).__name__}: {error}")
        raise


def _workers() -> dict[str, Any]:
    # Each is imported when it is wanted only: processes start sooner.
    def load(module, name):
        def make(order, stop):
            from importlib import import_module

            return getattr(import_module(f"harness.sharing.{module}"), name)(order, stop)

        return make

    return {
        "kafka-python": load("kafka_python_worker", "KafkaPythonWorker"),
        "confluent-kafka": load("confluent_worker", "ConfluentWorker"),
        "aiokafka": load("aiokafka_worker", "AioKafkaWorker"),
    }


if __name__ == "__main__":
    main()
