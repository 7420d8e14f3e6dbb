"""A small ext4 file system of its own, in a file on a loop device: something that a test may fill up."""

import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path

from . import paths


def _run(*command) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


@contextmanager
def small_disk(name: str, mebibytes: int):
    """Mounts a fresh file system of that size and yields where; raises OSError with the reason where that is impossible."""
    if os.geteuid() != 0:
        raise OSError("mounting a loop device needs root")
    for program in ("mkfs.ext4", "mount", "umount", "losetup"):
        if shutil.which(program) is None:
            raise OSError(f"{program} is not installed")
    image = paths.data_root() / f"{name}-{os.getpid()}.img"
    mount = image.with_suffix("")
    device = None
    try:
        with open(image, "wb") as file:
            os.posix_fallocate(file.fileno(), 0, mebibytes << 20)
        _run("mkfs.ext4", "-q", "-m", "0", "-F", str(image))
        device = _run("losetup", "--find", "--show", str(image))
        mount.mkdir()
        _run("mount", device, str(mount))
        try:
            yield mount
        finally:
            _run("umount", str(mount))
    finally:
        if device:
            _run("losetup", "--detach", device)
        if mount.exists():
            mount.rmdir()
        image.unlink(missing_ok=True)


def fill_up(path: Path):
    """Writes a file until not a byte is left for it."""
    with open(path, "wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                if file.write(bytes(size)) < size:
                    size //= 2
            except OSError:
                size //= 2
        os.fsync(file.fileno())
