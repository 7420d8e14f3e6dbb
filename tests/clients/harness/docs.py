"""Runs the commands of a document and compares what they print with what the document says.

A fenced block marked `console` holds commands behind `$ ` (and `> ` where one goes on over several lines) and, below each,
its output:

    ```console
    $ ringlog topic list
    TOPIC   PARTITIONS  REPLICAS  ID
    orders           3         1  1f3bcea1-df57-40b6-aa28-fddf321c5599
    ```

Commands run one after the other in bash, each in the document's own folder, where `ringlog` is the binary that is tested and
finds the test's broker without flags; a document may set variables and change the folder. Output is what goes to standard
output and standard error, in this order. In the document

- `…` alone on a line stands for any lines, and within a line for any text;
- what differs from run to run is compared by its kind: times, ids, ports, sizes (`NORMAL`). So a document shows real output
  and stays readable; columns may be as wide as they were then.

A word behind `console` says what is special: `norun` is shown only, `fails` is for commands that are to fail, `any` for output
that is not compared. `update` writes what was printed into the document.

Contract: every command of a document is run, in order, and a failure names the document's line. Absent: commands that do not
end, which a document shows with `norun`.
"""

import contextlib
import os
import re
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from . import paths
from .wait import PATIENCE_S

FENCE = re.compile(r"^(\s*)```console(?: +([a-z ]+?))?\s*$")
# What stands for what differs between runs, in the order in which it is looked for.
NORMAL = [
    (re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b"), "<uuid>"),
    (re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z?"), "<time>"),
    (re.compile(r"\b(?:127\.0\.0\.1|localhost|broker\d?):\d+\b"), "<address>"),
    (re.compile(r'("(?:timestamp_ms|disk_\w+|log_bytes|seconds|broker_epoch|term|log_end)":)\d+'), r"\1<number>"),
    (re.compile(r"\b\d+(?:\.\d+)? (?:bytes|KiB|MiB|GiB|TiB)\b"), "<size>"),
    (re.compile(r"/\S*/ringlog-docs-\S*"), "<path>"),
    (re.compile(r"[ \t]+"), " "),
]
MODES = {"norun", "fails", "any"}


@dataclass
class Command:
    line: int  # of the document, from 1 on
    text: str
    modes: frozenset[str]
    expected: list[str] = field(default_factory=list)
    printed: list[str] = field(default_factory=list)


def commands(text: str) -> list[Command]:
    """All of a document, in order."""
    found: list[Command] = []
    indent = modes = None
    for number, line in enumerate(text.splitlines(), start=1):
        if indent is None:
            if fence := FENCE.match(line):
                indent, modes = fence[1], frozenset((fence[2] or "").split())
                assert modes <= MODES, f"line {number}: {sorted(modes - MODES)} are no marks of a console"
                first = len(found)
            continue
        line = line.removeprefix(indent)
        if line.rstrip() == "```":
            indent = None
        elif line.startswith("$ "):
            found.append(Command(number, line[2:], modes))
        elif len(found) == first:
            raise AssertionError(f"line {number}: a console begins with a command")
        elif line.startswith("> ") and not found[-1].expected:
            found[-1].text += f"\n{line[2:]}"
        else:
            found[-1].expected.append(line)
    assert indent is None, "a console is not closed"
    return found


def normal(line: str) -> str:
    for pattern, name in NORMAL:
        line = pattern.sub(name, line)
    return line.strip()


def matches(expected: list[str], printed: list[str]) -> bool:
    """`…` stands for any lines, and within a line for any text."""
    if not expected:
        return not printed
    first, rest = expected[0], expected[1:]
    if first.strip() == "…":
        return any(matches(rest, printed[at:]) for at in range(len(printed) + 1))
    return bool(printed) and _line_matches(first, printed[0]) and matches(rest, printed[1:])


def _line_matches(expected: str, printed: str) -> bool:
    if "…" not in expected:
        return normal(expected) == normal(printed)
    pieces = [re.escape(normal(piece)) for piece in expected.split("…")]
    return re.fullmatch(r"\s*.*\s*".join(pieces), normal(printed)) is not None


class Shell:
    """One bash for all commands of a document, so that variables and the folder stay."""

    END = "--- the command has ended with "

    def __init__(self, folder: Path, env: dict[str, str]):
        self.out = folder / ".printed"
        binary = paths.ringlog_binary()
        own = {name: value for name, value in os.environ.items() if not name.startswith("RINGLOG_")}
        self.process = subprocess.Popen(
            ["bash", "--norc", "--noprofile"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env={**own, "PATH": f"{binary.parent}:{os.environ['PATH']}", "LC_ALL": "C.UTF-8", **env},
            start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit status, and the lines of both outputs, standard error behind."""
        errors = f"{self.out}.err"
        self.process.stdin.write(f"{{ {command}\n}} < /dev/null 2> {errors}\necho \"\n{self.END}$?\"; cat {errors}; echo; echo '{self.END}'\n")
        self.process.stdin.flush()
        out, err, status = [], [], None
        for line in self.process.stdout:
            line = line.rstrip("\n")
            if status is None and line.startswith(self.END) and line != self.END:
                status = int(line.removeprefix(self.END))
            elif line == self.END:
                return status, _trimmed(out) + _trimmed(err)
            else:
                (out if status is None else err).append(line)
        raise AssertionError(f"the shell ended with {command!r}")

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(PATIENCE_S)
        # What the document has started goes with it, also where it did not come to its end.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def run(document: Path, folder: Path, env: dict[str, str], update: bool = False):
    """Runs what is to be run, in `folder`; raises with all that differs. With `update` the document gets what was printed."""
    text = document.read_text()
    found = commands(text)
    assert found, f"{document.name} has no consoles"
    shell, wrong = Shell(folder, env), []
    try:
        for command in found:
            if "norun" in command.modes:
                continue
            status, command.printed = shell.run(command.text)
            where = f"{document.name}:{command.line}: $ {command.text}"
            if (status != 0) != ("fails" in command.modes):
                wrong.append(f"{where}\nended with {status}:\n" + "\n".join(command.printed))
            elif "any" not in command.modes and not matches(command.expected, command.printed):
                wrong.append(f"{where}\nprinted\n" + "\n".join(command.printed) + "\nand is to print\n" + "\n".join(command.expected))
    finally:
        shell.close()
    if update and wrong:
        document.write_text(updated(text, found))
    assert not wrong, "\n\n".join(wrong)


def updated(text: str, found: list[Command]) -> str:
    """The document with what was printed where that is something else; lines with `…` are the writer's to keep."""
    lines = text.splitlines()
    for command in reversed(found):
        if {"norun", "any"} & command.modes or matches(command.expected, command.printed):
            continue
        first = command.line + command.text.count("\n")
        lines[first : first + len(command.expected)] = command.printed
    return "\n".join(lines) + "\n"
