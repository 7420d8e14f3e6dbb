"""Members of groups as processes, of every library behind the same face; what they tell is kept in one history.

A `Host` is a process with one member or, for Java, with as many as are wanted: a JVM takes seconds to start, so JVMs are kept
(`Hosts`) and used again, and only members that are killed or paused have one of their own.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from .. import paths
from ..broker import TOOL_JVM, java
from ..wait import PATIENCE_S, wait_until
from .checker import Event, Place
from .worker import Order

PYTHON = ("kafka-python", "confluent-kafka", "aiokafka")
JAVA, FRANZ = "java", "franz-go"
GROUP_MEMBERS = paths.CACHE / "java"


class History:
    """All that members of one group tell, in the order of its coming, and who holds what by that."""

    def __init__(self):
        self.lock = threading.Lock()
        self.events: list[Event] = []
        self.held: dict[str, set[Place]] = {}  # by those that are not leaving
        self.leaving: set[str] = set()  # or killed
        self.committed: dict[Place, int] = {}

    def add(self, event: Event):
        with self.lock:
            self.events.append(event)
            held = self.held.setdefault(event["m"], set())
            match event["e"]:
                case "assigned" if event["m"] not in self.leaving:
                    held |= {tuple(p) for p in event["partitions"]}
                case "revoked" | "lost":
                    held -= {tuple(p) for p in event["partitions"]}
                case "closing" | "crashed":
                    self.leaving.add(event["m"])
                    held.clear()
                case "committed":
                    for topic, partition, offset in event["offsets"]:
                        place = topic, partition
                        self.committed[place] = max(offset, self.committed.get(place, 0))

    def done(self, member: str, what: str, **fields):
        """Tells of what is done to a member."""
        self.add({"m": member, "e": what, "t": time.time(), **fields})

    def of(self, member: str, what: str) -> list[Event]:
        with self.lock:
            return [e for e in self.events if e["m"] == member and e["e"] == what]

    def holding(self, members: list[str]) -> dict[str, set[Place]]:
        with self.lock:
            return {m: set(self.held.get(m, ())) for m in members}


class Host:
    """A process that runs members and tells of them."""

    def __init__(self, command: list[str], stderr: Path):
        self.histories: dict[str, History] = {}  # by member
        with open(stderr, "ab") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=paths.SUITE,
                env={**os.environ, "PYTHONPATH": str(paths.SUITE)}, start_new_session=True,
            )  # fmt: skip
        self.drain = threading.Thread(target=self._drain, daemon=True)
        self.drain.start()

    def _drain(self):
        for line in self.process.stdout:
            try:
                event = json.loads(line)
            except ValueError:
                continue  # cut off by a kill
            self.histories[event["m"]].add(event)

    def say(self, **order):
        self.process.stdin.write(json.dumps(order).encode() + b"\n")
        self.process.stdin.flush()

    def signal(self, number: int):
        self.process.send_signal(number)

    def alive(self) -> bool:
        return self.process.poll() is None

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()


class Hosts:
    """Where members run. JVMs are kept for other tests."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.shared: Host | None = None
        self.idle: list[Host] = []
        self.all: list[Host] = []

    def _made(self, command: list[str], name: str) -> Host:
        host = Host(command, self.folder / f"{name}.log")
        self.all.append(host)
        return host

    def _jvm(self) -> Host:
        return self._made(java("GroupMembers", jvm=TOOL_JVM, classes=(GROUP_MEMBERS,)), f"jvm-{len(self.all)}")

    def get(self, library: str, name: str, own: bool) -> Host:
        if library == FRANZ:
            return self._made([str(paths.FRANZ), "share"], name)
        if library in PYTHON:
            return self._made([sys.executable, "-m", "harness.sharing.worker"], name)
        assert library == JAVA, library
        if own:
            self.idle = [host for host in self.idle if host.alive()]
            return self.idle.pop() if self.idle else self._jvm()
        if self.shared is None or not self.shared.alive():
            self.shared = self._jvm()
        return self.shared

    def release(self, library: str, host: Host):
        """What has no member any more."""
        if library == JAVA and host.alive():
            if host is not self.shared and host not in self.idle:
                self.idle.append(host)
        elif library != JAVA:
            host.end()

    def end(self):
        for host in self.all:
            host.end()


def java_settings(order: Order) -> dict[str, str]:
    """Of Kafka's consumer."""
    settings = {
        "auto.offset.reset": "earliest", "group.protocol": order.protocol, "fetch.max.wait.ms": "100",
        "metadata.max.age.ms": str(order.metadata_ms),
    }  # fmt: skip
    if order.protocol == "classic":
        settings |= {"session.timeout.ms": str(order.session_ms), "heartbeat.interval.ms": "500"}
        if order.assignor != "default":
            settings["partition.assignment.strategy"] = JAVA_ASSIGNORS[order.assignor]
    elif order.assignor != "default":
        settings["group.remote.assignor"] = order.assignor
    if order.instance:
        settings["group.instance.id"] = order.instance
    return settings


JAVA_ASSIGNORS = {
    name: f"org.apache.kafka.clients.consumer.{cls}Assignor"
    for name, cls in {
        "range": "Range", "roundrobin": "RoundRobin", "sticky": "Sticky", "cooperative-sticky": "CooperativeSticky",
    }.items()
}  # fmt: skip


class Member:
    """One member of a group; `own` if it is to be killed or paused."""

    def __init__(self, order: Order, history: History, hosts: Hosts, own: bool = False, brokers_regex: bool = False):
        self.name, self.library, self.order = order.m, order.library, order
        self.history, self.hosts = history, hosts
        self.host = hosts.get(order.library, order.m, own)
        self.host.histories[order.m] = history
        fields = {name: value for name, value in vars(order).items() if value is not None}
        if order.library == JAVA:
            fields["settings"] = java_settings(order)
            if brokers_regex:
                fields["brokers_regex"] = fields.pop("pattern")
        self.host.say(do="start", **fields)

    def close(self):
        """Asks it to commit and leave; `wait_closed` waits for that."""
        self.host.say(do="close", m=self.name)

    def wait_closed(self):
        wait_until(lambda: self._closed() or self.failed(), f"{self.name} to close", PATIENCE_S)
        assert not self.failed(), f"{self.name} failed: {self.failed()}"
        self.hosts.release(self.library, self.host)

    def _closed(self) -> bool:
        return bool(self.history.of(self.name, "closed"))

    def failed(self) -> list[Event]:
        return self.history.of(self.name, "error")

    def kill9(self):
        self.host.end()
        # Not before: until it is dead it goes on to read what is still its own.
        self.history.done(self.name, "crashed")

    def pause(self):
        self.history.done(self.name, "paused")
        self.host.signal(signal.SIGSTOP)

    def resume(self):
        self.host.signal(signal.SIGCONT)
        self.history.done(self.name, "resumed")

    def end(self):
        """For clean-up."""
        if self.library == JAVA and self.host is self.hosts.shared:
            self.close()
        else:
            self.host.end()
