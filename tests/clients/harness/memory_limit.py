"""A process that may use so much memory and no more, by a control group (memory, v1 or v2): beyond it the kernel kills it.

Swap is not allowed either. Page cache counts too, but gives way. Needs root.
"""

import os
from contextlib import contextmanager
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
V1 = ROOT / "memory"


def _is_v1() -> bool:
    return (V1 / "memory.limit_in_bytes").exists()


def available():
    """Raises OSError with the reason where it is impossible."""
    if os.geteuid() != 0:
        raise OSError("control groups need root")
    if not _is_v1() and "memory" not in _read(ROOT / "cgroup.subtree_control").split():
        raise OSError("no memory controller, neither of cgroup v1 nor of v2")


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


class Limited:
    """What the group has used."""

    def __init__(self, group: Path):
        self.group, self.v1 = group, _is_v1()

    def peak_bytes(self) -> int:
        return int((self.group / ("memory.max_usage_in_bytes" if self.v1 else "memory.peak")).read_text())

    def kills(self) -> int:
        events = (self.group / ("memory.oom_control" if self.v1 else "memory.events")).read_text()
        return int(dict(line.split() for line in events.splitlines())["oom_kill"])


@contextmanager
def memory_limit(pid: int, limit_bytes: int):
    """The process gets no more than that from now on, what it has already included only if it touches it again."""
    available()
    group = (V1 if _is_v1() else ROOT) / f"ringlog-test-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        if _is_v1():
            (group / "memory.limit_in_bytes").write_text(str(limit_bytes))
            swap = group / "memory.memsw.limit_in_bytes"
            if swap.exists():
                swap.write_text(str(limit_bytes))
        else:
            (group / "memory.max").write_text(str(limit_bytes))
            if (group / "memory.swap.max").exists():
                (group / "memory.swap.max").write_text("0")
        (group / "cgroup.procs").write_text(str(pid))
        yield Limited(group)
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            try:
                ((V1 if _is_v1() else ROOT) / "cgroup.procs").write_text(member)
            except (ProcessLookupError, OSError):
                continue
        try:
            group.rmdir()
        except OSError:
            pass  # a process that is just being reaped
