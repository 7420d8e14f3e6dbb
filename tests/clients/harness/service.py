"""A broker under a service manager: a stand-in that reads what the broker tells it, and the stop of one thread alone.

Contract: `NotifySocket` keeps every message with the moment it came, in order; `environment` is what the broker is to be
started with. `stopped_thread` stops one thread of a process by ptrace, since a signal would stop all of them.
"""

import contextlib
import ctypes
import json
import os
import re
import signal
import socket
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from dataclasses import dataclass
from pathlib import Path

from .wait import wait_until


@dataclass(frozen=True)
class Message:
    at: float  # time.monotonic()
    fields: dict[str, str]


class NotifySocket:
    """What systemd listens on. `on_message` is called in the reader's thread, before anything else is read."""

    def __init__(self, abstract=False, on_message=None):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        if abstract:
            name = f"ringlog-{uuid.uuid4()}"
            self.socket.bind("\0" + name)
            self.address = "@" + name
        else:
            self.dir = tempfile.TemporaryDirectory()
            self.address = str(Path(self.dir.name) / "notify")
            self.socket.bind(self.address)
        self.messages: list[Message] = []
        self.on_message = on_message
        self.failure: BaseException | None = None
        threading.Thread(target=self._read, daemon=True).start()

    def environment(self, **more: str) -> dict[str, str]:
        return {"NOTIFY_SOCKET": self.address, **more}

    def _read(self):
        while True:
            text = self.socket.recv(65536).decode()
            message = Message(time.monotonic(), dict(line.split("=", 1) for line in text.splitlines()))
            try:
                if self.on_message:
                    self.on_message(message)
            except BaseException as e:  # told by the test's own thread
                self.failure = e
            self.messages.append(message)

    def has_more(self) -> bool:
        """Whether more has come than was read; for `on_message`."""
        try:
            return bool(self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    def catch_up(self):
        """Until all that has come so far is among the messages."""
        marker = f"X_CAUGHT_UP_{uuid.uuid4().hex}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(f"{marker}=1".encode(), self.socket.getsockname())
        self.wait_for(marker)

    def seen(self, field: str) -> list[str]:
        if self.failure:
            raise self.failure
        return [message.fields[field] for message in list(self.messages) if field in message.fields]

    def count(self, field: str) -> int:
        return len(self.seen(field))

    def wait_for(self, field: str, matches=lambda value: True, count=1):
        """Until `count` such messages have come; returns the last one's value."""

        def found():
            values = [value for value in self.seen(field) if matches(value)]
            return values[-1] if len(values) >= count else None

        try:
            return wait_until(found, f"{count} of {field}")
        except AssertionError as e:
            raise AssertionError(f"{e}; the broker said {[message.fields for message in self.messages]}") from None


# <sys/ptrace.h>
PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 7, 17, 0x4206, 0x4207
WALL = 0x40000000


def thread_id(pid: int, name: str) -> int:
    """glommio adds a number of its own to the names of its threads."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if re.fullmatch(rf"{name}(-\d+)?", (task / "comm").read_text().strip()):
            return int(task.name)
    raise AssertionError(f"process {pid} has no thread {name}")


@contextlib.contextmanager
def stopped_thread(pid: int, name: str):
    """One thread stands still, the others go on. All calls are from this thread: ptrace wants it so."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long

    def ptrace(request: int):
        if libc.ptrace(request, tid, None, None) != 0:
            raise OSError(ctypes.get_errno(), f"ptrace {request:#x} of {name}: {os.strerror(ctypes.get_errno())}")

    tid = thread_id(pid, name)
    ptrace(PTRACE_SEIZE)
    ptrace(PTRACE_INTERRUPT)
    os.waitpid(tid, WALL)
    try:
        yield
    finally:
        try:
            ptrace(PTRACE_DETACH)
        except ProcessLookupError:
            os.waitpid(tid, WALL)  # it has ended, and its process cannot before this is taken note of


@dataclass(frozen=True)
class Answer:
    status: int
    body: dict

    def check(self, name: str) -> dict:
        return next(check for check in self.body["checks"] if check["name"] == name)


def health(address: str, page: str, timeout_s=10.0) -> Answer:
    """`page` is `live`, `ready` or `safe-to-restart`."""
    try:
        with urllib.request.urlopen(f"http://{address}/health/{page}", timeout=timeout_s) as answer:
            return Answer(answer.status, json.load(answer))
    except urllib.error.HTTPError as e:
        return Answer(e.code, json.load(e))


def hang_up(process):
    process.send_signal(signal.SIGHUP)
