"""Where things are: the repository, the tools that run.sh installed, and the folder for brokers' data."""

import os
from pathlib import Path

SUITE = Path(__file__).resolve().parent.parent
REPO = SUITE.parent.parent
CACHE = REPO / ".cache" / "clients"
KAFKA_LIBS = CACHE / "kafka-libs"
FRANZ = CACHE / "bin" / "franz"
GROUPLOAD = CACHE / "bin" / "groupload"
KEYEDLOAD = CACHE / "bin" / "keyedload"
PROMTOOL = CACHE / "bin" / "promtool"

AGAINST = os.environ.get("RINGLOG_TEST_AGAINST", "ringlog")


def data_root() -> Path:
    """Brokers' data: on a real disk (O_DIRECT and fdatasync mean little on tmpfs), removed again when tests pass."""
    root = Path(os.environ.get("RINGLOG_TEST_DIR", REPO / ".cache" / "tmp"))
    root.mkdir(parents=True, exist_ok=True)
    kind = _file_system(root)
    if kind in ("tmpfs", "ramfs"):
        raise RuntimeError(f"{root} is on {kind}; set RINGLOG_TEST_DIR to a folder on a disk")
    return root


def ringlog_binary() -> Path:
    """RINGLOG_BIN, else the newest build in target/."""
    if named := os.environ.get("RINGLOG_BIN"):
        binary = Path(named)
    else:
        built = [REPO / "target" / profile / "ringlog" for profile in ("release", "debug")]
        binary = next((path for path in built if path.exists()), built[0])
    if not binary.exists():
        raise RuntimeError(f"no broker binary at {binary}: run `cargo build --release`, or set RINGLOG_BIN")
    return binary


def _file_system(path: Path) -> str:
    """The type of the mount that holds `path`."""
    path, best, kind = path.resolve(), "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, this_kind = line.split()[:3]
        inside = str(path) == mount or str(path).startswith(mount.rstrip("/") + "/")
        if inside and len(mount) >= len(best):
            best, kind = mount, this_kind
    return kind
