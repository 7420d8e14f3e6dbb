"""A group under test: members are made to join, leave, die and pause while records flow, and in the end all is checked.

Contract: `settle` returns when the group is at rest: its members hold all partitions, each by one, in even shares, the
coordinator says the same, and records that come then are read and committed by who holds them. `finish` fails with
what the checker found. No wait is for a time.
"""

import itertools
from dataclasses import dataclass, field

from ..admins.kadm_admin import KadmAdmin
from ..groups import committed
from ..topics import create_topic
from ..wait import PATIENCE_S, wait_until
from .checker import Findings, Place, check
from .feed import Feed
from .members import History, Hosts, Member
from .schedule import Move
from .worker import Order

# Each with how many partitions: fewer than members, about as many, and many more.
TOPICS = {"one": 1, "few": 5, "many": 100}
# What assigns when the libraries are not told.
DEFAULTS = {
    ("kafka-python", "classic"): "range",
    ("confluent-kafka", "classic"): "range",
    ("java", "classic"): "range",
    ("aiokafka", "classic"): "roundrobin",
    ("franz-go", "classic"): "cooperative-sticky",
}
SERVER_DEFAULT = "uniform"


@dataclass
class Kind:
    """What members of a group are like."""

    library: str
    assignor: str = "default"
    protocol: str = "classic"
    subscribe: str = "list"  # or "pattern": by a regular expression; or "re2": Java's SubscriptionPattern
    session_ms: int = 30_000

    def assigned_by(self) -> str:
        if self.assignor != "default":
            return self.assignor
        return SERVER_DEFAULT if self.protocol == "consumer" else DEFAULTS[self.library, self.protocol]

    def __str__(self):
        words = [self.library, self.protocol if self.protocol == "consumer" else "", self.assignor]
        words.append("" if self.subscribe == "list" else self.subscribe)
        return "-".join(filter(None, words)).replace("-default", "")


@dataclass
class Group:
    bootstrap: str
    name: str
    hosts: Hosts
    topics: dict[str, int] = field(default_factory=dict)  # name -> partitions
    own: bool = False  # members run alone, so that they can be killed and paused

    def __post_init__(self):
        self.history = History()
        self.members: dict[str, Member] = {}  # those that are in the group
        self.paused: dict[str, Member] = {}
        self.feed: Feed | None = None
        self.kinds: dict[str, Kind] = {}
        self.serial = itertools.count(1)

    def __enter__(self) -> "Group":
        if not self.topics:
            self.topics = {f"{self.name}-{name}": count for name, count in TOPICS.items()}
        for topic, partitions in self.topics.items():
            create_topic(self.bootstrap, topic, partitions)
        self.feed = Feed(self.bootstrap, self.topics)
        self.feed.start()
        return self

    def __exit__(self, *_):
        self.feed._stop.set()
        for member in [*self.members.values(), *self.paused.values()]:
            member.end()

    # What is done to it.
    def join(self, kind: Kind, name: str | None = None, instance: str | None = None, own: bool | None = None) -> Member:
        name = name or f"m{next(self.serial)}"
        order = Order(
            m=f"{self.name}.{name}", library=kind.library, bootstrap=self.bootstrap, group=self.name, assignor=kind.assignor,
            protocol=kind.protocol, topics=list(self.topics) if kind.subscribe == "list" else None,
            pattern=None if kind.subscribe == "list" else f"^{self.name}-.*", instance=instance, session_ms=kind.session_ms,
        )  # fmt: skip
        own = self.own if own is None else own
        self.kinds[name] = kind
        self.members[name] = Member(order, self.history, self.hosts, own, brokers_regex=kind.subscribe == "re2")
        return self.members[name]

    def leave(self, name: str):
        member = self.members.pop(name)
        member.close()
        member.wait_closed()

    def crash(self, name: str):
        self.members.pop(name).kill9()

    def pause(self, name: str):
        self.paused[name] = self.members.pop(name)
        self.paused[name].pause()

    def resume(self, name: str):
        self.members[name] = self.paused.pop(name)
        self.members[name].resume()

    def add_topic(self, topic: str, partitions: int):
        """One more; members must be subscribed by a pattern that matches it."""
        create_topic(self.bootstrap, topic, partitions)
        self.topics[topic] = partitions
        self.feed.add(topic, partitions)

    def play(self, moves: list[Move], kind_of):
        """Makes the moves; `kind_of(name)` is what a member that joins is like."""
        for move in moves:
            if move.what == "join":
                self.join(kind_of(move.member), move.member)
            else:
                getattr(self, move.what)(move.member)
            if move.settle:
                self.settle(f"after {move}")
            else:
                self.check_members()

    # How it is.
    def check_members(self):
        for member in [*self.members.values(), *self.paused.values()]:
            failed = member.failed()
            assert not failed, f"{member.name}: {failed[0]['error']}"
            assert member.host.alive(), f"{member.name} has ended"

    def places(self) -> set[Place]:
        return {(topic, p) for topic, partitions in self.topics.items() for p in range(partitions)}

    def shares(self) -> dict[str, set[Place]]:
        """What each member says that it holds, by its short name."""
        held = self.history.holding([member.name for member in self.members.values()])
        return {short: held[member.name] for short, member in self.members.items()}

    def settle(self, when: str):
        assignors = {self.kinds[name].assigned_by() for name in self.members}
        if len(assignors) > 1:
            assignors = {"range"}  # what all libraries know

        def at_rest():
            self.check_members()
            at_rest.last = unrest(self.places(), self.shares(), next(iter(assignors)))
            return at_rest.last is None

        self._wait(at_rest, f"{self.name} to be at rest {when}")
        self.wait_committed(f"{self.name} to have committed {when}")
        # By now a share that was only passing through has been replaced.
        self._wait(at_rest, f"{self.name} to be at rest {when}")

        def agreed():
            state, sizes = self._coordinators_view()
            wanted = sorted(len(share) for share in self.shares().values())
            agreed.last = f"{state} with {sizes}, members hold {wanted}"
            return state == "Stable" and sizes == wanted

        self._wait(agreed, f"the coordinator of {self.name} to agree {when}")

    def wait_committed(self, what: str):
        """Until all records that are there now are committed."""
        ends = self.feed.ends()

        def all_there():
            self.check_members()
            behind = {place: end for place, end in ends.items() if self.history.committed.get(place, 0) < end}
            all_there.last = f"{len(behind)} of {len(ends)} partitions are behind, {sorted(behind)[:5]} among them"
            return not behind

        self._wait(all_there, what)

    def _coordinators_view(self) -> tuple[str, list[int]]:
        """State, and the sizes of shares."""
        kind = "consumer" if any(self.kinds[n].protocol == "consumer" for n in self.members) else "classic"
        return KadmAdmin(self.bootstrap).describe_shares(self.name, kind)

    def _wait(self, condition, what: str):
        try:
            wait_until(condition, what, PATIENCE_S, poll_s=0.1)
        except AssertionError:
            raise AssertionError(f"waited in vain for {what}: {getattr(condition, 'last', '')}\n{self.story()}") from None

    def story(self, last=40) -> str:
        """The end of what happened, reads and commits left out."""
        with self.history.lock:
            events = [e for e in self.history.events if e["e"] not in ("read", "committed")]
            zero = self.history.events[0]["t"] if self.history.events else 0
        lines = []
        for e in sorted(events, key=lambda e: e["t"])[-last:]:
            more = f"{len(e['partitions'])} partitions" if "partitions" in e else e.get("error", "")
            lines.append(f"{e['t'] - zero:8.3f} {e['m']} {e['e']} {more}")
        return "\n".join(lines)

    # The end.
    def finish(self) -> Findings:
        """All is read, all members close, and nothing that cannot be was seen."""
        ends = self.feed.stop()
        self.wait_committed("the rest to be committed")
        for name in list(self.members):
            self.leave(name)
        found = self.check(ends)
        assert not found.kinds, f"{self.name}:\n{found}\n{self.story()}"
        return found

    def check(self, ends: dict[Place, int]) -> Findings:
        told: dict[Place, int] = {}
        for topic in self.topics:
            told |= {(topic, p): offset for p, offset in committed(self.bootstrap, self.name, topic).items()}
        with self.history.lock:
            return check(list(self.history.events), ends, told)


def unrest(places: set[Place], shares: dict[str, set[Place]], assignor: str) -> str | None:
    """Why these shares are not those of a group at rest; None if they are."""
    held = [place for share in shares.values() for place in share]
    if set(held) != places:
        return f"{len(places - set(held))} partitions are nobody's, {len(set(held) - places)} are not of the topics"
    if len(held) != len(places):
        return f"{len(held) - len(places)} partitions are held twice"
    sizes = {name: len(share) for name, share in shares.items()}
    if assignor != "range":
        return None if max(sizes.values()) - min(sizes.values()) <= 1 else f"uneven by {assignor}: {sizes}"
    for topic in sorted({topic for topic, _ in places}):
        of_topic = {name: sum(t == topic for t, _ in share) for name, share in shares.items()}
        if max(of_topic.values()) - min(of_topic.values()) > 1:
            return f"uneven by range of {topic}: {of_topic}"
    return None
