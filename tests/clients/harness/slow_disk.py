"""A process whose writes are held to a rate, by a control group (blkio of cgroup v1): a slow disk for one broker alone.

What counts is who submits a write: direct writes and what a sync writes are the process's own, while what the kernel
writes back later is nobody's in v1, and not held. Needs root.
"""

import os
from contextlib import contextmanager
from pathlib import Path

BLKIO = Path("/sys/fs/cgroup/blkio")


def whole_disk(path: Path) -> str:
    """MAJOR:MINOR of the disk that holds the path; limits are the disk's, not its partitions'."""
    device = path.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    block = Path("/sys/dev/block") / numbers
    if not block.exists():
        raise OSError(f"{path} is on no block device")
    if (block / "partition").exists():
        numbers = (block.resolve().parent / "dev").read_text().strip()
    return numbers


def available(path: Path):
    """Raises OSError with the reason where it is impossible."""
    if os.geteuid() != 0:
        raise OSError("control groups need root")
    if not (BLKIO / "cgroup.procs").exists():
        raise OSError(f"no cgroup v1 blkio controller at {BLKIO}")
    whole_disk(path)


@contextmanager
def slow_disk(pid: int, path: Path, bytes_per_second: int, writes_per_second: int):
    """The process's writes to the disk under `path` are held to that; yields a function: bytes that it wrote since."""
    available(path)
    group, disk = BLKIO / f"ringlog-test-{os.getpid()}-{pid}", whole_disk(path)
    group.mkdir()
    try:
        (group / "blkio.throttle.write_bps_device").write_text(f"{disk} {bytes_per_second}")
        (group / "blkio.throttle.write_iops_device").write_text(f"{disk} {writes_per_second}")
        (group / "cgroup.procs").write_text(str(pid))

        def written() -> int:
            lines = (group / "blkio.throttle.io_service_bytes").read_text().splitlines()
            return sum(int(line.split()[2]) for line in lines if line.startswith(f"{disk} Write"))

        yield written
    finally:
        for member in (group / "cgroup.procs").read_text().split():
            try:
                (BLKIO / "cgroup.procs").write_text(member)
            except ProcessLookupError:
                continue
        group.rmdir()
