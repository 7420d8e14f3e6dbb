"""Faults that can be put together: each strikes some brokers of a cluster, and ends; none waits for what comes of it.

`plan` chooses them from a seed: each kind against each target alone, then several at once. It is pure. What a target is
in numbers of brokers is decided when the fault strikes (`targets`), since leaders and controllers move.
"""

import random
import time
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import cycle, product
from typing import Iterator

from . import paths, slow_disk
from .cluster import Cluster
from .netns import INTERNAL, PEERS, Network
from .slow_link import slow_link

LOSS_PERCENT = 10
LINK_DELAY_S = 0.1
FLAP_S = {"kafka": 8.0, "ringlog": 2.0}[paths.AGAINST]  # runs at most so long, about twice what a start takes
DISK_BYTES_PER_SECOND, DISK_WRITES_PER_SECOND = 512 << 10, 80


class Fault:
    """Of these brokers. `end` is called once, whatever else has happened to them meanwhile."""

    filters = False  # uses packet filters, of which only one fault at a time can have some

    def __init__(self, cluster: Cluster, network: Network, nodes: list[int], rng: random.Random):
        self.cluster, self.network, self.nodes, self.rng = cluster, network, nodes, rng
        self.cleanup = ExitStack()
        self.notes: list[str] = []  # to be told in the round's report

    def strike(self):
        raise NotImplementedError

    def go_on(self):
        """Called again and again while it is in force."""

    def end(self):
        self.cleanup.close()

    def running(self):
        return [self.cluster[n] for n in self.nodes if self.cluster[n].process is not None]

    def others(self, node: int) -> list[int]:
        return [n for n in self.cluster.nodes if n != node]


class Kill(Fault):
    """SIGKILL, and started again."""

    def strike(self):
        self.down = self.running()
        for node in self.down:
            node.process.kill()
        for node in self.down:
            node.kill9()

    def end(self):
        for node in self.down:
            if node.process is None:
                node.spawn()


class Flap(Fault):
    """SIGKILL and started again, over and over: killed in what it does at its start, too."""

    def strike(self):
        self.due = 0.0
        self.go_on()

    def go_on(self):
        if time.monotonic() < self.due:
            return
        for node in self.running():
            node.kill9()
            node.spawn()
        self.due = time.monotonic() + self.rng.uniform(0.2, FLAP_S)


class Terminate(Fault):
    """SIGTERM, and started again. One that has not ended when the fault does is killed: what it waits for may not come."""

    def strike(self):
        self.leaving = [(node, node.process) for node in self.running()]
        for node, process in self.leaving:
            node.resume()  # one that is paused would not hear of it
            node.process = None  # nobody else's any more, nor missed when it ends
            process.terminate()

    def end(self):
        for node, process in self.leaving:
            if process.poll() is None:
                self.notes.append(f"broker {node.id} did not end on SIGTERM")
                process.kill()
            process.wait()
            node.spawn()


class Pause(Fault):
    """SIGSTOP and SIGCONT: silent, with all connections open and the memory of before."""

    def strike(self):
        for node in self.running():
            node.pause()

    def end(self):
        for node in self.running():
            node.resume()


class Isolate(Fault):
    """Reached by no broker and reaching none; clients reach it."""

    def strike(self):
        for node in self.nodes:
            self.network.isolate(node)

    def end(self):
        for node in self.nodes:
            self.network.heal(node)


class Filter(Fault):
    """Packets between brokers vanish."""

    filters = True
    percent = 100

    def pairs(self) -> set[tuple[int, int]]:
        """From and to."""
        raise NotImplementedError

    def strike(self):
        for source, target in sorted(self.pairs()):
            self.network.drop(source, target, self.percent)

    def end(self):
        self.network.mend()


class Deaf(Filter):
    """What others send to it vanishes."""

    def pairs(self):
        return {(other, node) for node in self.nodes for other in self.others(node)}


class Mute(Filter):
    """What it sends to others vanishes."""

    def pairs(self):
        return {(node, other) for node in self.nodes for other in self.others(node)}


class Link(Filter):
    """It and one other do not reach each other; both reach the third."""

    def pairs(self):
        ends = [(node, self.rng.choice(self.others(node))) for node in self.nodes]
        return {pair for one, other in ends for pair in ((one, other), (other, one))}


class Loss(Filter):
    """Of its packets, and of those to it, one in ten vanishes."""

    percent = LOSS_PERCENT

    def pairs(self):
        return {pair for node in self.nodes for other in self.others(node) for pair in ((node, other), (other, node))}


class SlowLink(Fault):
    """Others' connections to it take a tenth of a second more, either way; those that there are break."""

    filters = True

    def strike(self):
        port = {"kafka": PEERS, "ringlog": INTERNAL}[paths.AGAINST]
        for node in self.nodes:
            self.cleanup.enter_context(slow_link(self.network, node, port, LINK_DELAY_S))


class SlowDisk(Fault):
    """Its disk takes little."""

    def strike(self):
        for node in self.running():
            self.cleanup.enter_context(
                slow_disk.slow_disk(node.pid, node.data_dir, DISK_BYTES_PER_SECOND, DISK_WRITES_PER_SECOND)
            )


KINDS: dict[str, type[Fault]] = {
    "kill": Kill, "flap": Flap, "terminate": Terminate, "pause": Pause, "isolate": Isolate, "deaf": Deaf, "mute": Mute,
    "link": Link, "loss": Loss, "slow-link": SlowLink, "slow-disk": SlowDisk,
}  # fmt: skip
TARGETS = ("leader", "follower", "controller", "minority", "majority", "all")


def targets(name: str, nodes: list[int], leading: dict[int, int], controller: int, rng: random.Random) -> list[int]:
    """The brokers that a target means: `leading` tells how many partitions each leads."""
    by_load = sorted(nodes, key=lambda n: (-leading.get(n, 0), n))
    few = (len(nodes) - 1) // 2
    return {
        "leader": lambda: by_load[:1],
        "follower": lambda: [n for n in by_load if n != controller][-1:],
        "controller": lambda: [controller],
        "minority": lambda: sorted(rng.sample(nodes, few)),
        "majority": lambda: sorted(rng.sample(nodes, few + 1)),
        "all": lambda: list(nodes),
    }[name]()


@dataclass(frozen=True)
class Strike:
    kind: str
    target: str
    after_s: float  # of the round's begin
    lasts_s: float

    @property
    def name(self) -> str:
        return f"{self.kind} {self.target}"


def possible(kind: str, target: str) -> bool:
    if kind == "link" and target in ("majority", "all"):  # with three brokers the same as others
        return False
    return not (kind == "slow-disk" and paths.AGAINST == "kafka")  # it leaves disks to the kernel


def alone(rng: random.Random, without: set[str]) -> list[Strike]:
    """Each kind against each target, in an order in which kinds and targets take turns."""
    by_kind = {kind: [t for t in TARGETS if possible(kind, t)] for kind in KINDS if kind not in without}
    for some in by_kind.values():
        rng.shuffle(some)
    order = rng.sample(sorted(by_kind), len(by_kind))
    turns = [(kind, by_kind[kind][turn]) for turn in range(len(TARGETS)) for kind in order if turn < len(by_kind[kind])]
    return [Strike(kind, target, 0.0, round(rng.uniform(3, 9), 1)) for kind, target in turns]


def mix(rng: random.Random, without: set[str]) -> list[Strike]:
    """Two to four at once, more or less; mostly of single brokers. At most one has packet filters."""
    chosen: list[Strike] = []
    wanted, filtered = rng.randint(2, 4), False
    pairs = [(k, t) for k, t in product(KINDS, TARGETS) if k not in without and possible(k, t)]
    weights = [1 if t in ("majority", "all") else 4 for _, t in pairs]
    while len(chosen) < wanted:
        ((kind, target),) = rng.choices(pairs, weights)
        if any(s.kind == kind for s in chosen) or (KINDS[kind].filters and filtered):
            continue
        filtered = filtered or KINDS[kind].filters
        chosen.append(Strike(kind, target, round(rng.uniform(0, 5), 1), round(rng.uniform(1, 8), 1)))
    return chosen


def named(rounds: str, lasts_s=6.0) -> list[list[Strike]]:
    """Rounds by their names: `kill leader+pause follower,flap all` are two."""
    found = []
    for one in rounds.split(","):
        pairs = [name.split() for name in one.split("+")]
        for kind, target in pairs:
            assert kind in KINDS and target in TARGETS, f"{one}: kinds are {list(KINDS)}, targets {TARGETS}"
        found.append([Strike(kind, target, float(i), lasts_s) for i, (kind, target) in enumerate(pairs)])
    return found


def plan(
    seed: int, without: set[str] = frozenset(), only: str | None = None
) -> tuple[list[list[Strike]], Iterator[list[Strike]]]:
    """Rounds of one fault alone, and an endless supply of mixed ones; or only those that are named, over and over."""
    if only:
        return named(only), cycle(named(only))
    rng = random.Random(seed)
    singles = [[strike] for strike in alone(rng, set(without))]

    def mixes():
        own = random.Random(seed + 1)
        while True:
            yield mix(own, set(without))

    return singles, mixes()
