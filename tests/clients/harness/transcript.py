"""A list of steps is run against a cluster, and what came of each is written down, so that it can be compared.

A step is a command of one of Kafka's tools, a call of an admin client, or something that is done to the cluster. Before
every step all brokers show what was acknowledged before (`Cluster.settle`), so that a difference is one of behaviour
and not of timing. A step that `each` broker is to answer is run through each of them alone and written once, or once
for each broker where they differ. Golden files hold what real Kafka did: tests/clients/transcripts/*.txt.
"""

import difflib
import os
import shlex
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from . import paths
from .broker import java
from .cluster import MARKER, Cluster
from .normalise import Names, call_result, tool_output
from .topics import admin_client
from .wait import PATIENCE_S, wait_until

GOLDEN = paths.SUITE / "transcripts"
RECORD = os.environ.get("RINGLOG_TEST_RECORD") == "1"
TOOL_TIMEOUT_S = 120.0
TOOLS = {
    "kafka-topics": "org.apache.kafka.tools.TopicCommand",
    "kafka-configs": "kafka.admin.ConfigCommand",
    "kafka-cluster": "org.apache.kafka.tools.ClusterTool",
    "kafka-metadata-quorum": "org.apache.kafka.tools.MetadataQuorumCommand",
    "kafka-log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
    "kafka-consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "kafka-groups": "org.apache.kafka.tools.GroupsCommand",
    "kafka-leader-election": "org.apache.kafka.tools.LeaderElectionCommand",
}


@dataclass
class Context:
    """What steps run with."""

    cluster: Cluster
    folder: Path  # where tools run, so that files are named in commands as they are in the transcript
    names: Names
    turn: int = 0

    def next_bootstrap(self) -> str:
        """The brokers take turns: every change goes through another one than the last."""
        running = self.cluster.running()
        self.turn += 1
        return running[self.turn % len(running)].bootstrap


@dataclass
class Tool:
    """`kafka-topics --create ...`, as typed but for --bootstrap-server. Files are written first, name -> content."""

    line: str
    each: bool = False
    free_placement: bool = False
    any_order: bool = False  # lines come in an order that the tool does not promise
    until: tuple[str, ...] = ()  # run again until all are in the output: for what goes on by itself after a command
    files: dict[str, str] = field(default_factory=dict)

    def title(self) -> str:
        shown = [f"# {name}: {content}" for name, content in self.files.items()]
        return "\n".join([*shown, f"$ {self.line}"])

    def run(self, context: Context, bootstrap: str) -> list[str]:
        for name, content in self.files.items():
            (context.folder / name).write_text(content)
        if not self.until:
            return self._once(context, bootstrap)
        seen: list[list[str]] = []

        def settled():
            seen.append(self._once(context, bootstrap))
            return all(any(text in line for line in seen[-1]) for text in self.until)

        try:
            wait_until(settled, "the command to show it", PATIENCE_S)
        except AssertionError:
            return [*seen[-1], f"<waited in vain for: {self.until}>"]
        return seen[-1]

    def _once(self, context: Context, bootstrap: str) -> list[str]:
        tool, *words = shlex.split(self.line)
        server = ["--bootstrap-server", bootstrap]
        words = [*words, *server] if tool == "kafka-cluster" else [*server, *words]  # its options follow its command
        try:
            done = subprocess.run(
                java(TOOLS[tool], *words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                timeout=TOOL_TIMEOUT_S, cwd=context.folder,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return [f"<no end within {TOOL_TIMEOUT_S:.0f} s>"]
        output = tool_output(done.stdout, done.stderr, context.names, free_placement=self.free_placement)
        output = sorted(output) if self.any_order else output
        return [*output, f"exit status {done.returncode}"]


@dataclass
class Call:
    """An admin client's call: a function of the bootstrap address that returns what it was told, refusals included."""

    label: str
    function: Callable
    each: bool = False

    def title(self) -> str:
        return f"> {self.label}"

    def run(self, context: Context, bootstrap: str) -> list[str]:
        return call_result(self.function(bootstrap), context.names)


@dataclass
class Do:
    """Something that is done to the cluster, or asked of it as a whole."""

    label: str
    function: Callable[[Cluster], object]
    each: bool = False

    def title(self) -> str:
        return f"* {self.label}"

    def run(self, context: Context, bootstrap: str) -> list[str]:
        result = self.function(context.cluster)
        return [] if result is None else call_result(result, context.names)


Step = Tool | Call | Do


@dataclass
class Chapter:
    """Steps that belong together and stand for themselves: they begin and end with nothing but the marker topic."""

    name: str
    about: str
    steps: list[Step]
    consumer_protocol: bool = False  # skipped where the broker does not have it
    # Why Ringlog does not pass it yet. The test must then fail, so that the reason cannot outlive its cause.
    later: str | None = None


def each_of(listed: list[Chapter]) -> list:
    """One parameter for each chapter; those that Ringlog is not to pass yet must fail there."""
    return [
        pytest.param(
            chapter,
            id=chapter.name,
            marks=[pytest.mark.xfail(strict=True, reason=chapter.later)]
            if chapter.later and paths.AGAINST == "ringlog"
            else [],
        )
        for chapter in listed
    ]


def run(chapter: Chapter, cluster: Cluster, folder: Path) -> str:
    """The chapter's transcript."""
    context = Context(cluster, folder, Names.of(cluster))
    out = [f"# {chapter.name}: {chapter.about}"]
    for step in chapter.steps:
        cluster.settle()
        out += ["", step.title()]
        out += _through_each(step, context) if step.each else step.run(context, context.next_bootstrap())
    return "\n".join(line.rstrip() for line in "\n".join(out).splitlines()) + "\n"


def check(chapter: Chapter, cluster: Cluster, folder: Path, clean: Callable[[Cluster], None]):
    """Runs the chapter in a cluster that `clean` leaves as chapters find it, before and after."""
    clean(cluster)
    try:
        compare(chapter, run(chapter, cluster, folder))
    except BaseException:
        print(cluster.logs())
        raise
    finally:
        clean(cluster)


def delete_topics(cluster: Cluster):
    """All but the marker and Kafka's own."""
    client = admin_client(cluster.bootstrap)
    names = [t for t in client.list_topics(timeout=PATIENCE_S).topics if t != MARKER and not t.startswith("__")]
    for future in client.delete_topics(names).values() if names else ():
        future.result(PATIENCE_S)


def _through_each(step: Step, context: Context) -> list[str]:
    nodes = context.cluster.running()
    with ThreadPoolExecutor(len(nodes)) as pool:
        outputs = list(pool.map(lambda node: step.run(context, node.bootstrap), nodes))
    if all(output == outputs[0] for output in outputs):
        return ["(the same through each broker)", *outputs[0]]
    return [line for node, output in zip(nodes, outputs) for line in [f"(through broker {node.id})", *output]]


def compare(chapter: Chapter, transcript: str):
    """With what real Kafka did; RINGLOG_TEST_RECORD=1 writes that down instead (against Kafka only)."""
    golden = GOLDEN / f"{chapter.name}.txt"
    if RECORD:
        assert paths.AGAINST == "kafka", "golden files hold what Kafka does: record with --against kafka"
        golden.parent.mkdir(exist_ok=True)
        golden.write_text(transcript)
        return
    expected = golden.read_text()
    if transcript != expected:
        difference = difflib.unified_diff(
            expected.splitlines(), transcript.splitlines(), f"Kafka ({golden.name})", f"this run ({paths.AGAINST})",
            lineterm="", n=6,
        )  # fmt: skip
        raise AssertionError("not what Kafka did:\n" + "\n".join(difference))
