"""Finds what no correct log can have done, in a history.

Pure: it is fed operations one by one, in the order in which they were written down (`Checker.add`), and can be asked for
all that it has found so far at any time (`anomalies`). It takes each partition as one log that all replicas and readers
share, from its first offset on, of which nothing is deleted.

A send whose outcome is unknown may be there once or not at all, and counts for nothing else. What it does not judge: how
long anything took, and that a reader has seen all there is, unless it is a `log` operation.
"""

from bisect import bisect_right
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from .history import FAIL, INFO, OK, Op

# What must never be.
LOST = "lost"  # acknowledged, and not in the log
UNSEEN = "unseen"  # acknowledged; readers got beyond it, and none has got it
DUPLICATE = "duplicate"  # one value at two offsets, of an ordered producer
MISPLACED = "misplaced"  # of an ordered producer, read elsewhere than where it was acknowledged
INCONSISTENT = "inconsistent-offset"  # two values at one offset
REORDERED = "reordered"  # not in the order in which an ordered producer sent
WENT_BACK = "went-back"  # a reader got an offset that is not beyond what it had got
SKIPPED = "skipped"  # a reader was not given offsets in between
PHANTOM = "phantom"  # a value that nobody sent, or whose bytes are others
FAILED_YET_STORED = "failed-yet-stored"  # refused for certain, and read
VANISHED = "vanished"  # read once, and beyond the log's end now
HIGH_WATERMARK_BACK = "high-watermark-back"  # at the leader of one epoch
END_BACK = "end-back"  # the log ends below what is acknowledged
CLIENT_ERROR = "client-error"  # a client library gave up by itself while at most one broker was concerned

# What is told, and allowed: Kafka does so too.
# Given out at or above the high watermark of the same answer, which Kafka looks at before it reads.
ABOVE_HIGH_WATERMARK = "above-high-watermark"
FOLLOWER_HIGH_WATERMARK_BACK = "follower-high-watermark-back"
# Below what had been acknowledged before it was asked for. Of ListOffsets it takes a leader that does not know that others
# have replaced it (KIP-207); a Fetch tells what a new leader knows at first, too.
STALE_END = "stale-end"
STALE_HIGH_WATERMARK = "stale-high-watermark"
CLIENT_ERROR_IN_SEVERE_FAULT = "client-error-in-severe-fault"
NOTICES = {
    ABOVE_HIGH_WATERMARK, FOLLOWER_HIGH_WATERMARK_BACK, STALE_END, STALE_HIGH_WATERMARK, CLIENT_ERROR_IN_SEVERE_FAULT,
}  # fmt: skip

EXAMPLES = 20  # kept of each kind; all are counted
# A client may give up what it began within this time after a severe fault: brokers have to start and to recover.
SEVERE_AFTERMATH_S = 30.0
OUT_OF_RANGE = 1


@dataclass(frozen=True)
class Anomaly:
    kind: str
    where: str  # partition, or client
    text: str
    t: float
    faults: tuple[str, ...]  # in force then

    def __str__(self):
        during = f" [{', '.join(self.faults)}]" if self.faults else ""
        return f"{self.kind} {self.where} at {self.t:.3f}{during}: {self.text}"


@dataclass
class Send:
    client: str
    partition: str
    value: str
    t: float
    outcome: str | None = None  # None: under way
    offset: int = -1


@dataclass
class Partition:
    at: dict[int, str] = field(default_factory=dict)  # offset -> value, by readers
    where: dict[str, int] = field(default_factory=dict)  # value -> offset, by readers
    acked: dict[int, str] = field(default_factory=dict)  # offset -> value, by producers
    highest: int = -1  # offset that was read
    # Acknowledged offsets over time: times, and the highest until then.
    ack_times: list[float] = field(default_factory=list)
    ack_highest: list[int] = field(default_factory=list)


class Checker:
    def __init__(self):
        self.partitions: dict[str, Partition] = defaultdict(Partition)
        self.sends: dict[int, Send] = {}
        self.by_value: dict[str, Send] = {}
        self.by_producer: dict[tuple[str, str], list[Send]] = defaultdict(list)  # (client, partition), as sent
        self.ordered: set[str] = set()  # clients
        self.counts: Counter = Counter()  # of operations
        self.kinds: Counter = Counter()
        self._examples: dict[str, list[Anomaly]] = defaultdict(list)
        self._last: dict[tuple, int] = {}  # (reader, session, partition) -> last offset
        self._high_watermarks: dict[tuple, int] = {}
        self._faults: list[str] = []
        self._severe = 0
        self._severe_until = float("-inf")
        self._t = 0.0

    def add(self, op: Op):
        self.counts[op["op"]] += 1
        self._t = op["t"]
        getattr(self, f"_{op['op']}")(op)

    def anomalies(self) -> "Findings":
        """All of now: what was found when it was added, and what follows from all of it together."""
        kinds, examples = Counter(self.kinds), {kind: list(some) for kind, some in self._examples.items()}

        def tell(kind, where, text):
            kinds[kind] += 1
            some = examples.setdefault(kind, [])
            if len(some) < EXAMPLES:
                some.append(self._anomaly(kind, where, text))

        for name, partition in self.partitions.items():
            self._check_seen(name, partition, tell)
        for (client, name), sends in self.by_producer.items():
            if client in self.ordered:
                self._check_order(client, name, sends, tell)
        return Findings(kinds, [a for some in examples.values() for a in some])

    # Over all.
    def _check_seen(self, name, partition, tell):
        for offset, value in partition.acked.items():
            if offset < partition.highest and offset not in partition.at:
                tell(UNSEEN, name, f"{value}, acknowledged at {offset}; {partition.highest} was read")

    def _check_order(self, client, name, sends, tell):
        where, last, last_send = self.partitions[name].where, -1, None
        for send in sends:
            offset = where.get(send.value, send.offset if send.outcome == OK else -1)
            if offset < 0:
                continue
            if offset <= last:
                tell(REORDERED, name, f"{client} sent {last_send.value} (at {last}) before {send.value} (at {offset})")
            last, last_send = offset, send

    # One by one.
    def _client(self, op):
        if op.get("ordered"):
            self.ordered.add(op["client"])

    def _send(self, op):
        send = Send(op["client"], op["partition"], op["value"], op["t"])
        assert send.value not in self.by_value, f"not a unique value: {send.value}"
        self.sends[op["id"]] = self.by_value[send.value] = send
        self.by_producer[send.client, send.partition].append(send)

    def _sent(self, op):
        send = self.sends[op["id"]]
        assert send.outcome is None, f"two outcomes of {send}"
        send.outcome, send.offset = op["outcome"], op["offset"]
        if send.outcome == INFO:
            self._client_error(send.client, f"{send.value}: {op.get('error')}", send.t)
        partition = self.partitions[send.partition]
        if send.outcome == FAIL and send.value in partition.where:
            self._found(FAILED_YET_STORED, send.partition, f"{send.value} at {partition.where[send.value]}")
        if send.outcome != OK or send.offset < 0:
            return
        offset = send.offset
        other = partition.acked.setdefault(offset, send.value)
        if other != send.value:
            self._found(INCONSISTENT, send.partition, f"{offset} acknowledged for {other} and for {send.value}")
        read = partition.at.get(offset, send.value)
        if read != send.value:
            self._found(INCONSISTENT, send.partition, f"{offset} acknowledged for {send.value}; {read} was read there")
        elsewhere = partition.where.get(send.value, offset)
        if elsewhere != offset and send.client in self.ordered:
            self._found(MISPLACED, send.partition, f"{send.value} acknowledged at {offset}, read at {elsewhere}")
        partition.ack_times.append(op["t"])
        partition.ack_highest.append(max(offset, partition.ack_highest[-1] if partition.ack_highest else -1))

    def _read(self, name: str, reader: str, records):
        """What any reader got, of whatever replica: all of it must be of one log."""
        partition = self.partitions[name]
        for offset, value in records:
            partition.highest = max(partition.highest, offset)
            known = partition.at.setdefault(offset, value)
            if known != value:
                self._found(INCONSISTENT, name, f"{reader} read {value} at {offset}, where {known} had been read")
            elif partition.acked.get(offset, value) != value:
                text = f"{reader} read {value} at {offset}, acknowledged for {partition.acked[offset]}"
                self._found(INCONSISTENT, name, text)
            send = self.by_value.get(value)
            if send is None or send.partition != name:
                self._found(PHANTOM, name, f"{reader} read {value} at {offset}")
                continue
            if send.outcome == FAIL:
                self._found(FAILED_YET_STORED, name, f"{reader} read {value} at {offset}")
            first = partition.where.setdefault(value, offset)
            if send.client not in self.ordered:  # may be there twice
                continue
            if first != offset:
                self._found(DUPLICATE, name, f"{reader} read {value} at {offset}; it is at {first} too")
            elif send.outcome == OK and 0 <= send.offset != offset:
                self._found(MISPLACED, name, f"{reader} read {value} at {offset}, acknowledged at {send.offset}")

    def _advance(self, reader: str, session, name: str, at: int, records):
        """A reader that began a session at some offset gets each once, in order, none left out."""
        key = (reader, session, name)
        last = self._last.get(key, at - 1)
        for offset, value in records:
            if offset <= last:
                self._found(WENT_BACK, name, f"{reader} got {offset} ({value}) after {last}")
            elif offset > last + 1:
                self._found(SKIPPED, name, f"{reader} got {offset} ({value}) next to {last}")
            last = offset
        self._last[key] = last

    def _poll(self, op):
        self._read(op["partition"], op["client"], op["records"])
        self._advance(op["client"], op["session"], op["partition"], op["at"], op["records"])

    def _fetch(self, op):
        name, client, leading = op["partition"], op["client"], op["leading"]
        whose = f"{client} at broker {op['broker']} of epoch {op['epoch']}"
        if op["error"] == OUT_OF_RANGE and leading and op["at"] <= self.partitions[name].highest + 1:
            self._found(END_BACK, name, f"{whose}: the leader has no offset {op['at']}, before which it was read from")
        if op["error"]:
            return
        high_watermark = op["high_watermark"]
        above = [offset for offset, _ in op["records"] if offset >= high_watermark]
        if above:
            self._found(ABOVE_HIGH_WATERMARK, name, f"{whose} read {above[:3]}, high watermark {high_watermark}")
        key = (client, op["session"], name, op["epoch"], leading)
        before = self._high_watermarks.get(key, -1)
        if high_watermark < before:
            kind = HIGH_WATERMARK_BACK if leading else FOLLOWER_HIGH_WATERMARK_BACK
            self._found(kind, name, f"{whose}: {high_watermark} after {before}")
        self._high_watermarks[key] = high_watermark
        if leading:
            self._check_stale(STALE_HIGH_WATERMARK, op, high_watermark)
        self._read(name, whose, op["records"])
        self._advance(client, op["session"], name, op["at"], op["records"])

    def _end(self, op):
        self._check_stale(STALE_END, op, op["offset"])

    def _check_stale(self, kind: str, op, end: int):
        partition = self.partitions[op["partition"]]
        before = bisect_right(partition.ack_times, op["began"])
        if before and partition.ack_highest[before - 1] >= end:
            acknowledged = partition.ack_highest[before - 1]
            text = f"{op['client']} was told {end} when {acknowledged} had been acknowledged"
            self._found(kind, op["partition"], text)

    def _log(self, op):
        """All of a replica's log from `start` on, while nothing is under way."""
        name, start, end = op["partition"], op["start"], op["end"]
        whose = f"the log of broker {op['broker']}"
        self._read(name, whose, op["records"])
        self._last.pop((whose, None, name), None)
        self._advance(whose, None, name, start, op["records"])
        partition, held = self.partitions[name], {offset: value for offset, value in op["records"]}
        for offset, value in partition.acked.items():
            if offset >= end:
                self._found(END_BACK, name, f"{whose} ends at {end}; {value} was acknowledged at {offset}")
            if offset >= start and held.get(offset) != value:
                self._found(LOST, name, f"{value}, acknowledged at {offset}: there is {held.get(offset)} in {whose}")
        for offset in range(end, partition.highest + 1):
            if offset in partition.at:
                self._found(VANISHED, name, f"{partition.at[offset]} was read at {offset}; {whose} ends at {end}")
        for send in self.by_value.values() if start == 0 else ():
            # Where it lies is not known, so only a log from its first offset on can tell.
            untold = send.outcome == OK and send.offset < 0 and send.partition == name
            if untold and send.value not in partition.where:
                self._found(LOST, name, f"{send.value}, acknowledged without an offset: not in {whose}")

    def _error(self, op):
        self._client_error(op["client"], op["error"], op["began"])

    def _client_error(self, client: str, text: str, began: float):
        severe = self._severe > 0 or began < self._severe_until
        self._found(CLIENT_ERROR_IN_SEVERE_FAULT if severe else CLIENT_ERROR, client, text)

    def _fault(self, op):
        if op["on"]:
            self._faults.append(op["name"])
        else:
            self._faults.remove(op["name"])
        if op["severe"]:
            self._severe += 1 if op["on"] else -1
            self._severe_until = op["t"] + SEVERE_AFTERMATH_S

    def _found(self, kind: str, where: str, text: str):
        self.kinds[kind] += 1
        if len(self._examples[kind]) < EXAMPLES:
            self._examples[kind].append(self._anomaly(kind, where, text))

    def _anomaly(self, kind, where, text) -> Anomaly:
        return Anomaly(kind, where, text, self._t, tuple(self._faults))


@dataclass
class Findings:
    """How many of each kind, and the first examples of each."""

    kinds: Counter
    examples: list[Anomaly]

    @property
    def errors(self) -> dict[str, int]:
        return {kind: n for kind, n in self.kinds.items() if kind not in NOTICES}

    @property
    def notices(self) -> dict[str, int]:
        return {kind: n for kind, n in self.kinds.items() if kind in NOTICES}

    def __str__(self):
        return "\n".join(str(a) for a in sorted(self.examples, key=lambda a: a.t))


def check(ops) -> Findings:
    checker = Checker()
    for op in ops:
        checker.add(op)
    return checker.anomalies()
