"""Runs the commands of a document and compares what they print with what the document says.

A fenced block marked `console` holds commands behind `$ ` (and `> ` where one goes on over several lines) and, below each,
its output:

    ```console
    $ ringlog topic list
    TOPIC   PARTITIONS  REPLICAS  ID
    orders           3         1  1f3bcea1-df57-40b6-aa28-fddf321c5599
    ```

Commands run one after the other in bash, each in the document's own folder, where `ringlog` is the binary that is tested and
finds the test's broker without flags; a document may set variables and change the folder. Where a document is about several
machines, a prompt says on which a command runs, `broker-1# ` or `client$ `; each has a bash of its own, and a name may stand for
several machines that run it one after the other and are all to print the same. Output is what goes to standard output and
standard error, in this order. In the document

- `…` alone on a line stands for any lines, and within a line for any text;
- what differs from run to run is compared by its kind: times, ids, ports, sizes (`NORMAL`). So a document shows real output
  and stays readable; columns may be as wide as they were then.

A word behind `console` says what is special: `norun` is shown only, `fails` is for commands that are to fail, `either` for those of
which the machine decides, `any` for output that is not compared. `update` writes what was printed into the document.

Contract: every command of a document is run, in order, and a failure names the document's line. Absent: commands that do not
end, which a document shows with `norun`.
"""

import contextlib
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from . import paths
from .wait import PATIENCE_S

FENCE = re.compile(r"^(\s*)```console(?: +([a-z ]+?))?\s*$")
PROMPT = re.compile(r"^(?:([a-z][a-z0-9-]*)[#$]|\$) (.*)$")
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
MODES = {"norun", "fails", "either", "any"}


@dataclass
class Command:
    line: int  # of the document, from 1 on
    text: str
    modes: frozenset[str]
    machine: str | None  # that the prompt names
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
        elif prompt := PROMPT.match(line):
            found.append(Command(number, prompt[2], modes, prompt[1]))
        elif len(found) == first:
            raise AssertionError(f"line {number}: a console begins with a command")
        elif (line == ">" or line.startswith("> ")) and not found[-1].expected:
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


BASH = ("bash", "--norc", "--noprofile")


class Shell:
    """One bash for all commands of a document, or of one of its machines, so that variables and the folder stay.

    `command` starts it, on another machine too, where `errors` is then a file to be written.
    """

    END = "--- the command has ended with "

    def __init__(self, folder: Path, env: dict[str, str], command: Sequence[str] = BASH, errors: str | None = None):
        self.errors = errors or str(folder / ".printed.err")
        # Another machine has its own.
        path = {} if errors else {"PATH": f"{paths.ringlog_binary().parent}:{os.environ['PATH']}"}
        own = {name: value for name, value in os.environ.items() if not name.startswith("RINGLOG_")}
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=folder,
            env={**own, **path, "LC_ALL": "C.UTF-8", **env},
            start_new_session=True,
        )  # fmt: skip

    def run(self, command: str) -> tuple[int, list[str]]:
        """Exit status, and the lines of both outputs, standard error behind."""
        errors = self.errors
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
        """What the document has started goes with it, also where it did not come to its end."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        self.process.stdin.close()
        self.process.stdout.close()


def _trimmed(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def run(document: Path, folder: Path, env: dict[str, str], update: bool = False):
    """Runs what is to be run, in `folder`; raises with all that differs. With `update` the document gets what was printed."""
    run_on({None: [Shell(folder, env)]}, document, update)


def run_on(machines: Mapping[str | None, Sequence[Shell]], document: Path, update: bool = False):
    """The same on machines by the names that prompts have; without a name the prompt is of `None`. Closes the shells."""
    text = document.read_text()
    try:
        found = commands(text)
        assert found, f"{document.name} has no consoles"
        wrong = [difference for command in found for difference in _differences(machines, document.name, command)]
    finally:
        for shell in {id(shell): shell for shells in machines.values() for shell in shells}.values():
            shell.close()
    if update and wrong:
        document.write_text(updated(text, found))
    assert not wrong, "\n\n".join(wrong)


def _differences(machines: Mapping[str | None, Sequence[Shell]], name: str, command: Command) -> list[str]:
    """Runs a command on all machines that its prompt means."""
    if "norun" in command.modes:
        return []
    where = f"{name}:{command.line}: $ {command.text}"
    assert command.machine in machines, f"{where}\nis to run on {command.machine}, and there are {list(machines)}"
    wrong = []
    for shell in machines[command.machine]:
        status, command.printed = shell.run(command.text)
        if "either" not in command.modes and (status != 0) != ("fails" in command.modes):
            wrong.append(f"{where}\nended with {status}:\n" + "\n".join(command.printed))
        elif "any" not in command.modes and not matches(command.expected, command.printed):
            wrong.append(f"{where}\nprinted\n" + "\n".join(command.printed) + "\nand is to print\n" + "\n".join(command.expected))
    return wrong


def updated(text: str, found: list[Command]) -> str:
    """The document with what was printed where that is something else; lines with `…` are the writer's to keep."""
    lines = text.splitlines()
    for command in reversed(found):
        if {"norun", "any"} & command.modes or matches(command.expected, command.printed):
            continue
        first = command.line + command.text.count("\n")
        lines[first : first + len(command.expected)] = command.printed
    return "\n".join(lines) + "\n"
