"""A campaign: a cluster under clients whose operations are recorded, faults in rounds, a quiet window after each.

In a quiet window no fault is in force and producers are held: what was sent is acknowledged or given up, readers are at
the end, all replicas are the same, and the checker has found nothing in all operations so far. Waiting is for that, never
for a time.
"""

import random
import time
from collections import Counter
from itertools import count
from pathlib import Path
from typing import Collection

from . import paths, replicas
from .check.checker import ABOVE_HIGH_WATERMARK, CLIENT_ERROR, Checker, Findings
from .check.history import Recorder
from .cluster import Cluster
from .faults import KINDS, Fault, Strike, targets
from .netns import Network
from .recorded import Recording, RecordingCareless, RecordingConfluent, RecordingFranz, RecordingKafkaPython, name_of
from .recorded_readers import ConfluentReader, KafkaPythonReader, RawReader, Reader, records_in
from .wait import wait_until

# Until a cluster has recovered: much more than it takes, little enough to tell one that is stuck.
DEADLINE_S = 120.0
OUTCOME_S = 360.0  # more than any producer may take until it is replaced
READER_S = 75.0  # more than any consumer waits for an answer (librdkafka's socket.timeout.ms is 60 s)
PER_SECOND = 100.0  # records of each producer
# Ringlog looks at the high watermark once for what it reads and what it tells.
NEVER = {ABOVE_HIGH_WATERMARK} if paths.AGAINST == "ringlog" else set()
REPLICATED = {"min.insync.replicas": "2"}
PARTITIONS = 3


class Anomalies(AssertionError):
    """The checker found what cannot be."""


class Campaign:
    """`plant` alters what is recorded (see `check.plant`)."""

    def __init__(self, cluster: Cluster, network: Network, name: str, history: Path, seed: int, plant=lambda op: op):
        self.cluster, self.network, self.name = cluster, network, name
        self.rng = random.Random(seed)
        self.checker = Checker()
        self.recorder = Recorder(history, self.checker.add, plant)
        self.topics = [f"{name}-shared", f"{name}-own"]
        self.partitions = [(topic, p) for topic in self.topics for p in range(PARTITIONS)]
        self.verified: dict[tuple[str, int], int] = {where: 0 for where in self.partitions}
        self.writers: list[Recording] = []
        self.held = False
        self.readers: list[Reader] = []
        self.replaced_readers: list[str] = []
        self._past: list[Recording] = []  # writers that had to be replaced
        self._serial = count(1)
        self.fault_s = 0.0
        self.began = time.monotonic()

    # Clients.
    def start(self, careless=False):
        """With `careless` producers records do get lost."""
        ids = sorted(self.cluster.nodes)
        assignment = {p: ids[p % len(ids) :] + ids[: p % len(ids)] for p in range(PARTITIONS)}
        for topic in self.topics:
            replicas.create(self.cluster, topic, assignment, REPLICATED)
        shared, own = self.topics
        kinds = [(RecordingConfluent, shared), (RecordingFranz, shared), (RecordingKafkaPython, shared)]
        kinds = [(RecordingCareless, shared)] if careless else [*kinds, (RecordingConfluent, own)]
        self.writers = [self._writer(kind, topic) for kind, topic in kinds]
        where = (self.recorder, self.cluster.bootstrap, self.partitions)
        self.readers = [ConfluentReader("reader", *where), KafkaPythonReader("reader-python", *where)]
        self.readers += [ConfluentReader(f"reader-rack-{rack}", *where, rack=rack) for rack in "ac"]
        self.readers += [
            RawReader(f"raw-{node.id}", self.recorder, node, self.partitions) for node in self.cluster.nodes.values()
        ]
        for reader in self.readers:
            reader.start()
        return self

    def _writer(self, kind, topic: str) -> Recording:
        name = f"{kind.__name__.removeprefix('Recording').lower()}-{next(self._serial)}"
        writer = kind(name, topic, PARTITIONS, per_second=PER_SECOND, recorder=self.recorder)
        writer.bootstrap, writer.held = self.cluster.bootstrap, self.held
        return writer.start()

    def stop(self):
        """Ends all clients, whatever their state."""
        for writer in self.writers:
            writer.abandon()
        for reader in self.readers:
            reader.stop()
        self.recorder.close()

    def revive(self):
        """A producer that has ended, since its library gave up for good, is replaced; so is one that hangs.

        (kafka-python's may do so after it has given up a record: the next ones never have an outcome.)
        """
        for i, writer in enumerate(self.writers):
            stuck = writer.stuck()
            if stuck or not writer.alive():
                error = f"no outcome of {writer.in_flight} records" if stuck else f"ended: {writer.failures[:1]}"
                began = writer.oldest() or self.recorder.now()
                self.recorder.write("error", client=writer.name, began=began, error=error)
                writer.abandon()
                self._past.append(writer)
                self.writers[i] = self._writer(type(writer), writer.topic)

    def check_clients(self):
        self.cluster.check_alive()
        for reader in self.readers:
            reader.check()

    def check_logs(self):
        """No run of any broker has panicked, though it may have gone on."""
        for node in self.cluster.nodes.values():
            for log in node.dir.glob("broker.*.log"):
                assert "panicked at" not in log.read_text(errors="replace"), f"a panic in {log}"

    def acks_since(self, t: float) -> dict[str, list[float]]:
        """Times of acknowledgements by partition, of all producers together."""
        found: dict[str, list[float]] = {name_of(*where): [] for where in self.partitions}
        for writer in [*self.writers, *self._past]:
            for p, times in enumerate(writer.ack_times):
                recent = []
                for n in range(len(times) - 1, -1, -1):  # added to meanwhile
                    if times[n] < t:
                        break
                    recent.append(times[n])
                found[name_of(writer.topic, p)] += recent
        return {name: sorted(times) for name, times in found.items()}

    # Rounds.
    def round(self, strikes: list[Strike]) -> dict:
        """Faults, then a quiet window. Returns what there is to tell of it."""
        controller = self.cluster.wait_controller()
        leading = self._leading()
        chosen = [(s, targets(s.target, list(self.cluster.nodes), leading, controller, self.rng)) for s in strikes]
        severe = len({n for _, nodes in chosen for n in nodes}) > 1
        began = time.monotonic()
        notes = self._strike(chosen, severe, began)
        ended = time.monotonic()
        self.fault_s += ended - began
        acks = {name.removeprefix(f"{self.name}-"): times for name, times in self.acks_since(began).items()}
        during = progress(acks, began, ended)
        recovered = self._recover(ended)
        quiet_s = self.quiet()
        return {
            "faults": [[s.name, nodes] for s, nodes in chosen], "severe": severe, "lasted_s": round(ended - began, 1),
            **during, "recovered_s": recovered, "quiet_s": quiet_s, "notes": notes,
        }  # fmt: skip

    def _strike(self, chosen: list[tuple[Strike, list[int]]], severe: bool, began: float) -> list[str]:
        notes: list[str] = []
        events: list[tuple[float, int, bool]] = []
        for i, (strike, _) in enumerate(chosen):
            events += [(strike.after_s, i, True), (strike.after_s + strike.lasts_s, i, False)]
        faults: dict[int, Fault] = {}
        try:
            for at, i, on in sorted(events):
                self._run_until(began + at, faults.values())
                strike, nodes = chosen[i]
                if on:
                    faults[i] = KINDS[strike.kind](self.cluster, self.network, nodes, self.rng)
                    self.recorder.write("fault", name=strike.name, nodes=nodes, on=True, severe=severe)
                    faults[i].strike()
                else:
                    fault = faults.pop(i)
                    fault.end()
                    notes += fault.notes
                    self.recorder.write("fault", name=strike.name, nodes=nodes, on=False, severe=severe)
        finally:
            for fault in faults.values():
                fault.end()
        return notes

    def _run_until(self, t: float, faults: Collection[Fault]):
        """Lets faults and clients go on until then: a fault's length is what it is, and not a wait for something."""
        while (left := t - time.monotonic()) > 0:
            self.check_clients()
            self.revive()
            for fault in faults:
                fault.go_on()
            time.sleep(min(left, 0.2))

    def _leading(self) -> dict[int, int]:
        found: Counter = Counter()
        for topic in self.topics:
            views = replicas.views(self.cluster, topic)
            view = max(views.values(), key=len)
            found.update(partition.leader for partition in view.values())
        return dict(found)

    def _recover(self, ended: float) -> dict[str, float]:
        """Until brokers are whole again and each partition has been written to; seconds from the faults' end."""
        for node in self.cluster.running():
            node.wait_ready()
        self.cluster.wait_formed()
        formed = time.monotonic()
        for topic in self.topics:
            all_of_them = {p: set(self.cluster.nodes) for p in range(PARTITIONS)}
            replicas.wait_in_sync(self.cluster, topic, all_of_them, timeout_s=DEADLINE_S)
        in_sync = time.monotonic()
        first = self.wait_written(ended)
        return {
            "formed": round(formed - ended, 1), "in_sync": round(in_sync - ended, 1), "written": round(first - ended, 1)
        }  # fmt: skip

    def wait_written(self, since: float) -> float:
        """Until every partition that has a producer has been written to since then; when the last one was."""
        wanted = {name_of(writer.topic, p) for writer in self.writers for p in range(PARTITIONS)}

        def written():
            self.check_clients()
            self.revive()
            acks = self.acks_since(since)
            written.last = {name: acks[name] for name in wanted}
            return all(written.last.values())

        try:
            wait_until(written, "every partition to be written to again", DEADLINE_S, poll_s=0.02)
        except AssertionError as e:
            missing = [name for name, times in written.last.items() if not times]
            raise AssertionError(f"{e}; not written to: {missing}\n{self.cluster.logs()}") from None
        return max(times[0] for times in written.last.values())

    # Quiet windows.
    def quiet(self, whole=False) -> float:
        """Holds the producers and verifies; with `whole` everything from the first offset on, and for the last time."""
        began = time.monotonic()
        self.hold(True)
        try:
            wait_until(self._none_under_way, "all records to have an outcome", OUTCOME_S)
            ends = {where: self._verify_replicas(where, whole) for where in self.partitions}
            self._wait_readers(ends)
        finally:
            if not whole:
                self.hold(False)
        self.raise_found()
        return round(time.monotonic() - began, 1)

    def hold(self, held: bool):
        self.held = held
        for writer in self.writers:
            writer.hold(held)

    def _none_under_way(self) -> bool:
        self.check_clients()
        self.revive()
        return all(writer.in_flight == 0 for writer in self.writers)

    def _verify_replicas(self, where: tuple[str, int], whole: bool) -> int:
        """All replicas hold the same from where they were verified before; returns the end."""
        start, ids = 0 if whole else self.verified[where], set(self.cluster.nodes)
        replicas.wait_same_extent(self.cluster, *where, ids, timeout_s=DEADLINE_S)
        if whole:
            replicas.assert_identical(self.cluster, *where, ids)
        copies = {n: replicas.read(self.cluster[n], *where, start) for n in sorted(ids)}
        for n, copy in copies.items():
            self.recorder.write(
                "log", broker=n, partition=name_of(*where), start=start, end=copy.high_watermark,
                records=records_in(copy.data, start),
            )  # fmt: skip
        first_id, first = next(iter(copies.items()))
        for n, copy in copies.items():
            difference = replicas.first_difference(copy.batches, first.batches)
            assert copy.batches == first.batches, f"{name_of(*where)} of brokers {n} and {first_id}: {difference}"
        self.verified[where] = first.high_watermark
        return first.high_watermark

    def _wait_readers(self, ends: dict[tuple[str, int], int]):
        began = time.monotonic()

        def at_end():
            self.check_clients()
            if time.monotonic() - began > READER_S:
                self._revive_readers(ends)
            at_end.last = {
                f"{reader.name} {name_of(*where)}": (at, ends[where])
                for reader in self.readers
                for where, at in reader.positions.items()
                if at < ends[where]
            }
            return not at_end.last

        try:
            wait_until(at_end, "all readers to be at the end", DEADLINE_S)
        except AssertionError as e:
            raise AssertionError(f"{e}; behind (offset, end): {at_end.last}") from None

    def _revive_readers(self, ends: dict[tuple[str, int], int]):
        """A consumer whose library hangs, though there is more to read and others have read it, is replaced."""
        for i, reader in enumerate(self.readers):
            behind = [name_of(*where) for where, at in reader.positions.items() if at < ends[where]]
            if isinstance(reader, RawReader) or not behind or not reader.is_silent(READER_S):
                continue
            again = reader.again(f"{reader.name}-{next(self._serial)}")
            error = f"hangs, and is replaced by {again.name}: behind in {behind}"
            self.recorder.write("error", client=reader.name, began=self.recorder.now(), error=error)
            reader.abandon()
            self.readers[i] = again.start()
            self.replaced_readers.append(reader.name)

    def findings(self) -> Findings:
        with self.recorder.still():
            return self.checker.anomalies()

    def raise_found(self, tolerated=(CLIENT_ERROR,)):
        findings = self.findings()
        wrong = {kind: n for kind, n in findings.kinds.items() if kind in findings.errors or kind in NEVER}
        if wrong.keys() - set(tolerated):
            raise Anomalies(f"{wrong} in {self.recorder.path}:\n{findings}")

    def summary(self) -> dict:
        findings = self.findings()
        return {
            "seconds": round(time.monotonic() - self.began), "fault_s": round(self.fault_s),
            "operations": dict(self.recorder.counts), "errors": findings.errors, "notices": findings.notices,
            "replaced_readers": self.replaced_readers,
        }  # fmt: skip


def progress(acks: dict[str, list[float]], began: float, ended: float) -> dict:
    """Records acknowledged per second and longest time without one, of each partition, within that time."""
    rates, gaps = {}, {}
    for name, times in acks.items():
        inside = [began, *(t for t in times if began <= t <= ended), ended]
        rates[name] = round((len(inside) - 2) / max(ended - began, 0.001))
        gaps[name] = round(max(b - a for a, b in zip(inside, inside[1:])), 2)
    return {"acknowledged_per_s": rates, "longest_gap_s": gaps}
