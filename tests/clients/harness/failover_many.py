"""The failover of many partitions at once: all are led by one broker, which is killed.

Three times are taken from the kill: until a living broker's Metadata names another leader of every partition; until a
write to every one was acknowledged to a client without a library's pauses; and the same for librdkafka at its default
settings.
"""

import statistics
import threading
import time

from confluent_kafka import Producer

from . import quorum, replicas, wire
from .batch import batch
from .cluster import Cluster
from .quorum import Unanswered
from .wire import array, int16, int32, nullable_bytes, string

VALUE = b"v" * 100
PATIENCE_S = 120.0
TIMES = {
    "led_s": "Metadata shows all led",
    "written_s": "all written to",
    "librdkafka_s": "all written to by librdkafka",
}


def measure(cluster: Cluster, topic: str, victim: int, count: int) -> dict:
    """One kill; the broker runs again and is in sync when this returns."""
    one, other = sorted(set(cluster.nodes) - {victim})
    assignment = {p: [victim, one, other] if p % 2 else [victim, other, one] for p in range(count)}
    cluster.create_topic(topic, assignment, {"min.insync.replicas": "2"})
    in_sync = {p: set(ids) for p, ids in assignment.items()}
    replicas.wait_in_sync(cluster, topic, in_sync, timeout_s=PATIENCE_S)
    addresses = {n: cluster[n].address for n in (one, other)}
    library = Library(cluster.bootstrap, topic, count)
    library.write()  # so that it knows whom to ask, as one that has written all along
    library.producer.flush(PATIENCE_S)
    write_all(topic, count, {victim: cluster[victim].address}, None, time.monotonic())

    found: dict[str, float] = {}
    led = threading.Event()
    struck = time.monotonic()
    threads = [
        threading.Thread(target=lambda: found.update(led_s=until_led(topic, count, addresses, struck, led))),
        threading.Thread(target=lambda: found.update(written_s=write_all(topic, count, addresses, led, struck))),
        threading.Thread(target=lambda: found.update(librdkafka_s=library.write_from(struck))),
    ]
    cluster[victim].kill9()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    cluster.start_nodes(victim)
    replicas.wait_in_sync(cluster, topic, in_sync, timeout_s=PATIENCE_S)
    return {**{name: round(seconds, 3) for name, seconds in found.items()}, "errors": library.errors[:3]}


def until_led(
    topic: str, count: int, addresses: dict[int, quorum.Address], struck: float, led: threading.Event
) -> float:
    while time.monotonic() - struck < PATIENCE_S:
        try:
            view = quorum.partitions(next(iter(addresses.values())), topic, timeout_s=1.0)
            if len(view) == count and all(state.leader in addresses for state in view.values()):
                led.set()
                return time.monotonic() - struck
        except Unanswered:
            pass
        time.sleep(0.005)
    raise AssertionError(f"{topic}: not all led within {PATIENCE_S:.0f} s")


def write_all(
    topic: str, count: int, addresses: dict[int, quorum.Address], led: threading.Event | None, struck: float
):
    """A record to every partition, in one request to each leader, again for those that were refused."""
    left, record = set(range(count)), batch([VALUE])
    if led:
        led.wait(PATIENCE_S)
    while left and time.monotonic() - struck < PATIENCE_S:
        for address in addresses.values():
            try:
                leaders = quorum.partitions(address, topic, timeout_s=1.0)
                for leader, leads in addresses.items():
                    mine = sorted(p for p in left if leaders[p].leader == leader)
                    if mine:
                        left -= produce_each(leads, topic, mine, record)
            except (OSError, wire.Closed, Unanswered):
                continue
    assert not left, f"{topic}: not written within {PATIENCE_S:.0f} s: {len(left)} partitions"
    return time.monotonic() - struck


def produce_each(address: quorum.Address, topic: str, partitions: list[int], record: bytes) -> set[int]:
    """One Produce v7 to many partitions, with acks=all; those that acknowledged it."""
    body = string(None) + int16(-1) + int32(2000)
    body += array([string(topic) + array(partitions, lambda p: int32(p) + nullable_bytes(record))])
    with wire.Connection(address, 3.0) as c:
        answers = wire.read_produce(c.request(wire.PRODUCE, 7, body))
    return {p for p, (error, _) in answers.items() if error == wire.NONE}


class Library:
    """librdkafka at its default settings, with one record at a time to every partition."""

    def __init__(self, bootstrap: str, topic: str, count: int):
        self.topic, self.count, self.errors = topic, count, []
        self.producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})

    def write(self):
        def delivered(error, _):
            if error is not None:
                self.errors.append(str(error))

        for p in range(self.count):
            self.producer.produce(self.topic, VALUE, partition=p, on_delivery=delivered)

    def write_from(self, struck: float) -> float:
        self.write()
        left = self.producer.flush(PATIENCE_S)
        if left:
            self.errors.append(f"{left} records not delivered within {PATIENCE_S:.0f} s")
        return time.monotonic() - struck


def table(results: list[dict], systems: list[str], count: int) -> str:
    """Markdown: a row for each time."""
    lines = [
        f"| {count} partitions | " + " | ".join(f"{s}: rounds, median / worst, s" for s in systems) + " |",
        "|---|" + "--:|" * len(systems),
    ]
    for name, title in TIMES.items():
        cells = []
        for system in systems:
            values = [r[name] for r in results if r["against"] == system and name in r]
            cells.append(f"{len(values)}: {statistics.median(values):.3f} / {max(values):.3f}" if values else "-")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
