"""Many members of many groups in one process: the program in ../groupload.

Contract: `start` returns when every member is in its group; `status` and `check` say what the program has seen since the
last `mark`. What it finds wrong with committed offsets is in `violations`. Absent: any judgement of its own.
"""

import json
import subprocess
import threading
from dataclasses import dataclass, field

from . import paths
from .wait import wait_until

START_TIMEOUT_S = 180.0


@dataclass(frozen=True)
class Status:
    """What the program answers; see its main.go."""

    groups_gone_on: int = 0
    members_stable: int = 0
    seconds: float = 0.0
    heartbeats: int = 0
    commits: int = 0
    fetches: int = 0
    joins: int = 0
    behind: list[str] | None = None
    errors: dict[str, int] = field(default_factory=dict)
    violations: list[str] | None = None
    violation_count: int = 0
    heartbeat_ms: dict[str, float] = field(default_factory=dict)
    checked: int = 0
    failed: int = 0


class GroupLoad:
    """`options` are the program's flags, as in `commit="500ms"`."""

    def __init__(self, bootstrap: str, topic: str, groups: int, members: int = 1, **options: str | int):
        self.groups, self.members = groups, members
        command = [str(paths.GROUPLOAD), "-brokers", bootstrap, "-topic", topic]
        command += ["-groups", str(groups), "-members", str(members)]
        for name, value in options.items():
            command += [f"-{name.replace('_', '-')}", str(value)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, bufsize=1)
        self.lock = threading.Lock()

    def __enter__(self) -> "GroupLoad":
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def _ask(self, command: str) -> dict:
        with self.lock:
            self.process.stdin.write(command + "\n")
            line = self.process.stdout.readline()
        assert line, f"groupload ended with {self.process.wait()}"
        return json.loads(line)

    def mark(self):
        """Counts begin anew."""
        self._ask("mark")

    def status(self) -> Status:
        return Status(**self._ask("status"))

    def check(self) -> Status:
        """Fetches all committed offsets."""
        return Status(**self._ask("check"))

    def wait_stable(self, timeout_s=START_TIMEOUT_S):
        """Until every member is in its group and has said something in it."""
        total = self.groups * self.members

        def stable():
            stable.last = self.status()
            return stable.last.members_stable == total and stable.last.groups_gone_on == self.groups

        stable.last = None
        try:
            wait_until(stable, f"{total} members", timeout_s, poll_s=0.25)
        except AssertionError as e:
            raise AssertionError(f"{e}: {stable.last}") from None

    def wait_gone_on(self, timeout_s: float, watch=None) -> Status:
        """Until every member of every group has gone on since the mark; `watch` is called with every status."""

        def gone_on():
            gone_on.last = self.status()
            if watch:
                watch(gone_on.last)
            return gone_on.last.groups_gone_on == self.groups

        gone_on.last = None
        try:
            wait_until(gone_on, f"{self.groups} groups to go on", timeout_s, poll_s=0.1)
        except AssertionError as e:
            raise AssertionError(f"{e}: {gone_on.last}") from None
        return gone_on.last
