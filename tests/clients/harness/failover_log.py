"""When a failover's steps were made: by Ringlog's logs, and for both systems by what brokers answer.

Contract: seconds since the fault, on this machine's clock, for each step that was seen; a step that was not is left
out. Ringlog's logs need `LOG_LEVEL`.
"""

import re
import threading
import time
from datetime import datetime

from . import quorum
from .cluster import Cluster
from .quorum import Unanswered

LOG_LEVEL = "info,ringlog::partition=debug,ringlog::replicator::outbound::stream=debug"
# In the order in which they come, as a rule.
STEPS = {
    "ended": "a voter finds that the controller's process has ended",
    "controller": "a living broker names a controller that is alive",
    "noticed": "the controller finds the broker dead or silent",
    "fenced": "the quorum has agreed that it is fenced",
    "led": "the next leader's shard has applied that it leads",
    "agreed": "a follower's log is known to be a begin of the next leader's",
    "shown": "all living brokers' Metadata names the next leader",
}
LINE = re.compile(r"^(\S+Z)\s+\w+ \S+: (.*)$")


def by_logs(cluster: Cluster, topic: str, victim: int, struck: float) -> dict[str, float]:
    """The steps that living brokers have logged; `struck` is a moment of the monotonic clock."""
    wall = time.time() - time.monotonic()
    found: dict[str, float] = {}

    def note(step: str, at: float):
        found[step] = min(at, found.get(step, at))

    for node in cluster.running():
        if node.id == victim:
            continue
        for line in node.log_text().splitlines():
            match = LINE.match(line)
            if match is None:
                continue
            at, text = datetime.fromisoformat(match[1]).timestamp() - wall - struck, match[2]
            if at < 0:
                continue
            if text.startswith(("the broker's process has ended", "no heartbeat within")):
                note("noticed", at)
            elif text.startswith("the controller's process has ended"):
                note("ended", at)
            elif text.startswith("broker fenced"):
                note("fenced", at)
            elif text.startswith(f"assignment applied topic={topic} ") and f"leader: Some({node.id})" in text:
                note("led", at)
            elif text.startswith("the follower's log is a begin") and f" topic={topic} " in f"{text} ":
                note("agreed", at)
    return {step: round(at, 4) for step, at in found.items()}


class Watch:
    """Asks living brokers again and again, in threads: who leads the quorum, and who leads partition 0 of the topic."""

    POLL_S = 0.005
    TIMEOUT_S = 0.5

    def __init__(self, cluster: Cluster, topic: str, victim: int):
        self.topic, self.victim = topic, victim
        self.addresses = [node.address for node in cluster.running() if node.id != victim]
        self.over = threading.Event()
        self.seen: dict[str, float] = {}

    def __enter__(self) -> "Watch":
        asked = {"controller": self._has_controller, "shown": self._shows_leader}
        self.threads = [threading.Thread(target=self._until, args=item, daemon=True) for item in asked.items()]
        return self

    def begin(self, struck: float):
        """To be called at the fault."""
        self.struck = struck
        for thread in self.threads:
            thread.start()

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            if thread.ident is not None:
                thread.join()

    def _until(self, step: str, is_so):
        while not self.over.is_set():
            try:
                if is_so():
                    self.seen[step] = round(time.monotonic() - self.struck, 4)
                    return
            except (Unanswered, KeyError):
                pass
            time.sleep(self.POLL_S)

    def _has_controller(self) -> bool:
        return quorum.describe_quorum(self.addresses[0], self.TIMEOUT_S).leader not in (-1, self.victim)

    def _shows_leader(self) -> bool:
        leaders = {quorum.partitions(a, self.topic, self.TIMEOUT_S)[0].leader for a in self.addresses}
        return len(leaders) == 1 and not leaders & {-1, self.victim}
