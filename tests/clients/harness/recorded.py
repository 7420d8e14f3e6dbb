"""Producers whose every record and answer is written into a history: the loaders of `load`, which can be held.

Libraries' own time-outs are in force. An error that a library hands to its user is written down, and the producer goes
on; one that cannot go on (a fatal error of an idempotent producer) ends, and can be replaced by another of a new name.
"""

import time
from dataclasses import dataclass

from .check.history import INFO, OK, Recorder
from .load import ConfluentLoader, FranzLoader, KafkaPythonLoader, Loader, value_of

WINDOW = 40  # records under way in each partition, so that one that stands still does not hold up the others
BURST_S = 0.1  # how far behind its rate a producer may catch up


def name_of(topic: str, partition: int) -> str:
    return f"{topic}-{partition}"


def identify(value: bytes | None) -> str:
    """The value as a history has it, or what shows that its bytes are not as they were sent."""
    try:
        name, partition, sequence, _ = value.split(b":", 3)
        if value == value_of(name.decode(), int(partition), int(sequence)):
            return b":".join((name, partition, sequence)).decode()
    except (AttributeError, ValueError):
        pass
    return f"altered: {value!r}"


@dataclass
class Recording(Loader):
    """Put before a loader. `held` from outside: no new records meanwhile."""

    recorder: Recorder | None = None
    held: bool = False
    # Longer than the library's own time-out for a record: one that then has no outcome will never have one.
    outcome_s: float = 330.0

    def __post_init__(self):
        super().__post_init__()
        self.own_patience = True
        # (partition, sequence) -> id of a send under way, and when it was handed over; the oldest first
        self._ids: dict[tuple[int, int], tuple[int, float]] = {}
        self._under_way = [0] * self.partitions
        self.ack_times: list[list[float]] = [[] for _ in range(self.partitions)]
        self.errors = 0

    @property
    def in_flight(self) -> int:
        return self._in_flight

    def alive(self) -> bool:
        return self._thread.is_alive()

    def oldest(self) -> float | None:
        """When the record was handed over that has waited for its outcome longest."""
        with self._lock:
            return next((since for _, since in self._ids.values()), None)

    def stuck(self) -> bool:
        oldest = self.oldest()
        return oldest is not None and time.monotonic() - oldest > self.outcome_s

    def _run(self):
        ordered = getattr(self, "idempotent", True)
        self.recorder.write("client", client=self.name, kind=type(self).__name__, ordered=ordered)
        self._open()
        partition, due = 0, time.monotonic()
        while not self._stop.is_set():
            now = time.monotonic()
            if self.held or now < due:
                self._wait()
                continue
            due = max(due + 1 / self.per_second, now - BURST_S)
            partition = (partition + 1) % self.partitions
            if self._under_way[partition] >= WINDOW:
                self._wait() if min(self._under_way) >= WINDOW else None
                continue
            self._hand_over(partition)
        self._drop() if self._abandoned else self._close()

    def hold(self, held: bool):
        """Whether there are to be no new records. What is under way is counted by then."""
        with self._lock:
            self.held = held

    def _hand_over(self, partition: int):
        with self._lock:
            if self.held:
                return
            self._under_way[partition] += 1
            self._in_flight += 1
        sequence = self.sent[partition]
        self.sent[partition] += 1
        where = name_of(self.topic, partition)
        number = self.recorder.send(self.name, where, f"{self.name}:{partition}:{sequence}")
        with self._lock:
            self._ids[partition, sequence] = number, time.monotonic()
        try:
            self._send(partition, sequence, value_of(self.name, partition, sequence))
        except BaseException as e:
            self._done(partition, sequence, -1, e)
            raise

    def _done(self, partition, sequence, offset, error=None):
        with self._lock:
            number, _ = self._ids.pop((partition, sequence), (None, 0.0))
            if number is None:
                self.failures.append(f"partition {partition}, record {sequence}: answered twice")
                return
            if error is None:
                self.ack_times[partition].append(time.monotonic())
            else:
                self.errors += 1
        if error is None:
            self.recorder.sent(number, OK, -1 if offset is None else offset)
        elif not self._abandoned:
            # Any error of an idempotent producer may come after the record was stored.
            self.recorder.sent(number, INFO, error=f"{type(error).__name__}: {error}")
        with self._lock:  # only now: nothing in flight means that all of it is written down
            self._under_way[partition] -= 1
            self._in_flight -= 1


class RecordingConfluent(Recording, ConfluentLoader):
    pass


class RecordingCareless(RecordingConfluent):
    """Is content when the leader has it: what it has acknowledged may be lost, in Kafka too."""

    def __post_init__(self):
        super().__post_init__()
        self.acks, self.idempotent = "1", False


class RecordingFranz(Recording, FranzLoader):
    pass


@dataclass
class RecordingKafkaPython(Recording, KafkaPythonLoader):
    outcome_s: float = 150.0  # it gives up after two minutes
