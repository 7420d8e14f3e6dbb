"""What members of a group told, and what was in the topics: is it what a group promises?

Contract: `check` takes the events of all members (as worker.py describes them, with `crashed`, `paused` and `resumed` of the
one who did that to them), the end of each partition, and what is committed at the end. It names what cannot be:

    lost              a record that nobody read
    duplicate         a record read twice, and neither reader was killed or paused; or twice in one turn of one member
    gap               a member passed over records of a partition that it held
    reread            a member began a turn before what had been committed when it got the partition
    shared            two members held a partition at the same time, and neither was killed or paused
    not-held          a record read of a partition that the member did not hold
    commit-back       a commit that was acknowledged after one of a later offset: by a member that should have been refused
    uncommitted       at the end, what is committed is not the end of the partition
    failed            a member ended by an error

A *turn* is the time from a partition's assignment to a member until it goes from it again. A member that was paused does
not hold what it had: others may have it by then, and it may still read what it had fetched, but not commit it. One that is
closing has no turns any more: a library that rebalances in the background may still be given a share before it leaves.
Absent: whether shares are even, which can only be told of a quiet group, by its runner.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]
Place = tuple[str, int]  # topic, partition
EXAMPLES = 8  # of each kind, in what is said
HURT = ("crashed", "paused")


@dataclass
class Turn:
    """A member's holding of a partition."""

    member: str
    place: Place
    began: float
    ended: float | None = None
    next: int | None = None  # the offset that is to be read next, once one was
    hurt: bool = False  # the member was killed or paused in it


@dataclass
class Findings:
    """What cannot be, by kind; empty is good."""

    kinds: Counter = field(default_factory=Counter)
    texts: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, text: str, count: int = 1):
        self.kinds[kind] += count
        if len(self.texts[kind]) < EXAMPLES:
            self.texts[kind].append(text)

    def __str__(self):
        lines = [f"{kind} ({count}): {text}" for kind, count in self.kinds.items() for text in self.texts[kind]]
        return "\n".join(lines) or "nothing"


class Checker:
    def __init__(self, events: Iterable[Event]):
        self.events = sorted(events, key=lambda e: e["t"])
        self.found = Findings()
        self.zero = self.events[0]["t"] if self.events else 0.0
        self.turns: dict[tuple[str, Place], Turn] = {}  # that last
        self.holders: dict[Place, list[Turn]] = defaultdict(list)
        # Offset -> who read it, and whether in a turn that was hurt later (the turn tells).
        self.readers: dict[Place, dict[int, list[tuple[str, float, Turn | None]]]] = defaultdict(lambda: defaultdict(list))
        self.commits: dict[Place, list[tuple[float, float, int, str]]] = defaultdict(list)  # began, answered, offset, who
        self.hurt: dict[str, list[float]] = defaultdict(list)
        self.leaving: set[str] = set()  # or killed

    def run(self, ends: dict[Place, int], committed: dict[Place, int] | None = None) -> Findings:
        for event in self.events:
            if event["e"] in HURT:
                self.hurt[event["m"]].append(event["t"])
            if event["e"] == "committed":
                for topic, partition, offset in event["offsets"]:
                    self.commits[topic, partition].append((event["began"], event["t"], offset, event["m"]))
        for event in self.events:
            handler = getattr(self, "_" + event["e"].replace("-", "_"), None)
            if handler:
                handler(event)
        self._check_shared()
        self._check_readers(ends)
        self._check_commits(ends, committed)
        return self.found

    def at(self, t: float) -> str:
        return f"at {t - self.zero:.3f} s"

    # Events.
    def _assigned(self, event: Event):
        if event["m"] in self.leaving:
            return
        for topic, partition in event["partitions"]:
            key = event["m"], (topic, partition)
            if key in self.turns:  # eager assignors hand out what was not told to go: a paused member's, for one
                self._end_turn(*key, event["t"])
            self.turns[key] = Turn(*key, event["t"])
            self.holders[topic, partition].append(self.turns[key])

    def _revoked(self, event: Event):
        for topic, partition in event["partitions"]:
            self._end_turn(event["m"], (topic, partition), event["t"])

    _lost = _revoked

    def _closing(self, event: Event):
        self.leaving.add(event["m"])
        for member, place in list(self.turns):
            if member == event["m"]:
                self._end_turn(member, place, event["t"])

    _crashed = _closing

    def _paused(self, event: Event):
        for turn in [t for (m, _), t in self.turns.items() if m == event["m"]]:
            turn.hurt, turn.ended = True, event["t"]

    def _end_turn(self, member: str, place: Place, t: float):
        turn = self.turns.pop((member, place), None)
        if turn:
            turn.ended = t if turn.ended is None else turn.ended

    def _error(self, event: Event):
        self.found.add("failed", f"{event['m']} {self.at(event['t'])}: {event['error']}")

    def _read(self, event: Event):
        member, t = event["m"], event["t"]
        for topic, partition, first, last in event["runs"]:
            place = topic, partition
            turn = self.turns.get((member, place))
            for offset in range(first, last + 1):
                self.readers[place][offset].append((member, t, turn))
            where = f"{topic}-{partition} by {member} {self.at(t)}"
            if turn is None:
                self.found.add("not-held", f"{where}: read {first} to {last}", last - first + 1)
                continue
            if turn.next is None:
                self._check_beginning(turn, first, t, where)
            elif first > turn.next:
                self.found.add("gap", f"{where}: read {first} where {turn.next} was next", first - turn.next)
            elif first < turn.next:
                count = turn.next - first
                self.found.add("duplicate", f"{where}: read {first} again, where {turn.next} was next", count)
            turn.next = last + 1

    def _check_beginning(self, turn: Turn, first: int, t: float, where: str):
        """A turn begins where the commits are; a member that was paused before it read may have asked long ago."""
        if turn.hurt:
            return
        known = [c for c in self.commits[turn.place] if c[1] < turn.began]
        at = max(known, key=lambda c: c[2], default=None)
        if at and first < at[2]:
            self.found.add(
                "reread",
                f"{where}: began at {first}, where {at[2]} had been committed by {at[3]} {self.at(at[1])}, "
                f"before it got the partition {self.at(turn.began)}",
                at[2] - first,
            )

    # At the end.
    def _check_shared(self):
        for (topic, partition), turns in self.holders.items():
            for i, one in enumerate(turns):
                for other in turns[i + 1 :]:
                    if one.member != other.member and (one.ended is None or other.began < one.ended):
                        self.found.add(
                            "shared",
                            f"{topic}-{partition}: {other.member} got it {self.at(other.began)} while {one.member} had it "
                            f"since {self.at(one.began)}",
                        )

    def _check_readers(self, ends: dict[Place, int]):
        for place, end in sorted(ends.items()):
            name = f"{place[0]}-{place[1]}"
            readers = self.readers.get(place, {})
            for first, last in _ranges(o for o in range(end) if o not in readers):
                holders = ", ".join(f"{t.member} {self.at(t.began)}" for t in self.holders[place]) or "nobody"
                text = f"{name}: nobody read {first} to {last}; it was held by {holders}"
                self.found.add("lost", text, last - first + 1)
            twice = {}
            for offset, reads in readers.items():
                for i, (m1, t1, turn1) in enumerate(reads):
                    for m2, t2, turn2 in reads[i + 1 :]:
                        if (turn1 is None or turn1 is not turn2) and not self._excused(m1, m2, t2):
                            twice[offset] = f"by {m1} {self.at(t1)}, by {m2} {self.at(t2)}"
            for first, last in _ranges(sorted(twice)):
                self.found.add("duplicate", f"{name}: {first} to {last} read {twice[first]}", last - first + 1)

    def _excused(self, m1: str, m2: str, t2: float) -> bool:
        """Was the first reader killed or paused, or the second one paused before it read?"""
        return bool(self.hurt[m1]) or any(t <= t2 for t in self.hurt[m2])

    def _check_commits(self, ends: dict[Place, int], committed: dict[Place, int] | None):
        for (topic, partition), commits in sorted(self.commits.items()):
            highest = None
            for began, answered, offset, member in sorted(commits, key=lambda c: c[1]):
                # Only one that was answered before this one was sent is surely the earlier.
                if highest and highest[2] > offset and highest[1] < began:
                    self.found.add(
                        "commit-back",
                        f"{topic}-{partition}: {member} committed {offset} {self.at(answered)}, after {highest[3]} had "
                        f"committed {highest[2]} {self.at(highest[1])}",
                    )
                if highest is None or offset > highest[2]:
                    highest = (began, answered, offset, member)
        if committed is None:
            return
        for place, end in sorted(ends.items()):
            if committed.get(place, 0) != end:
                text = f"{place[0]}-{place[1]}: committed is {committed.get(place)}, where {end} is the end"
                self.found.add("uncommitted", text)


def _ranges(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Rising numbers as (first, last) of those that follow each other."""
    out: list[tuple[int, int]] = []
    for n in numbers:
        if out and out[-1][1] == n - 1:
            out[-1] = (out[-1][0], n)
        else:
            out.append((n, n))
    return out


def check(events: Iterable[Event], ends: dict[Place, int], committed: dict[Place, int] | None = None) -> Findings:
    return Checker(events).run(ends, committed)
