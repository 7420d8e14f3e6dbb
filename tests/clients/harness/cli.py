"""`ringlog`'s commands for people, run as people run them: with arguments, pipes, and a terminal where that matters.

Contract: a command that went wrong says so in sentences on standard error that begin with `error: `, and never panics.
"""

import errno
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import termios
import time

from . import paths
from .broker import java
from .transcript import TOOLS
from .wait import PATIENCE_S


def ringlog(*args: str, stdin: str | bytes = b"", env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    """With text for outputs, and without the tester's own variables."""
    done = subprocess.run(
        [str(paths.ringlog_binary()), *args],
        input=stdin.encode() if isinstance(stdin, str) else stdin,
        capture_output=True, timeout=2 * PATIENCE_S, env=environment(env),
    )  # fmt: skip
    text = (done.stdout.decode(errors="surrogateescape"), done.stderr.decode(errors="surrogateescape"))
    assert "panicked" not in text[1], text[1]
    return subprocess.CompletedProcess(done.args, done.returncode, *text)


def environment(more: dict[str, str] | None = None) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("RINGLOG_")}
    return {**own, "NO_COLOR": "1", "TERM": "xterm", **(more or {})}


class Asks:
    """The program with an address to ask: `asks("topic", "list")` is what it prints when all goes well."""

    def __init__(self, bootstrap: str):
        self.bootstrap = bootstrap

    def run(self, *args: str, **more) -> subprocess.CompletedProcess:
        return ringlog(*args, "--bootstrap-server", self.bootstrap, **more)

    def __call__(self, *args: str, **more) -> str:
        done = self.run(*args, **more)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout

    def json(self, *args: str, **more) -> dict:
        text = self(*args, "--json", **more)
        assert text.count("\n") == 1 and text.endswith("\n"), "one object on one line"
        return json.loads(text)

    def refused(self, *args: str, status=1, **more) -> str:
        done = self.run(*args, **more)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        assert done.stderr.startswith("error: "), done.stderr
        return done.stderr


def kafka_tool(tool: str, bootstrap: str, *args: str) -> str:
    """What Kafka's own tool prints."""
    command = java(TOOLS[tool], "--bootstrap-server", bootstrap, *args)
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, (done.stdout, done.stderr)
    return done.stdout


def columns(text: str) -> list[dict[str, str]]:
    """A table's rows by the names of its columns, which have no spaces in them; nor have the cells."""
    header, *rows = (line.split() for line in text.splitlines() if line.strip())
    return [dict(zip(header, row, strict=True)) for row in rows]


class Terminal:
    """The program on a terminal of its own."""

    def __init__(self, *args: str, env: dict[str, str] | None = None, columns: int | None = None):
        more = environment(env)
        if env and "NO_COLOR" not in env:
            del more["NO_COLOR"]
        self.main, end = pty.openpty()
        if columns:
            fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self.process = subprocess.Popen(
            ["setsid", "--ctty", str(paths.ringlog_binary()), *args], stdin=end, stdout=end, stderr=end, env=more
        )
        os.close(end)
        self.text = ""

    def read_until(self, wanted: str, timeout_s=PATIENCE_S):
        deadline = time.monotonic() + timeout_s
        while wanted not in self.text:
            assert time.monotonic() < deadline, f"waited for {wanted!r}, saw {self.text!r}"
            assert self._read(), f"it ended without {wanted!r}: {self.text!r}"

    def type(self, text: str):
        os.write(self.main, text.encode())

    def end(self) -> int:
        """Its exit status; `text` has all that it wrote."""
        while self._read():
            pass
        os.close(self.main)
        return self.process.wait(PATIENCE_S)

    def _read(self) -> bool:
        ready, _, _ = select.select([self.main], [], [], PATIENCE_S)
        assert ready, f"nothing more came: {self.text!r}"
        try:
            read = os.read(self.main, 65536)
        except OSError as e:
            assert e.errno == errno.EIO, e  # the other end was closed
            return False
        self.text += read.decode(errors="replace")
        return bool(read)
