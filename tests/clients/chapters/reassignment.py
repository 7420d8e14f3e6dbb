"""Replicas that move, and leaders that are elected. Topics are empty: what is compared is metadata."""

import json

from harness.transcript import Chapter, Tool

from . import calls
from .brokers import start, stop


def plan(partitions: dict[int, list[int]], topic="r") -> str:
    return json.dumps(
        {
            "version": 1,
            "partitions": [
                {"topic": topic, "partition": p, "replicas": replicas} for p, replicas in partitions.items()
            ],
        }
    )


def reassign(line: str, files: dict[str, str] | None = None, **options) -> Tool:
    return Tool(f"kafka-reassign-partitions {line}", files=files or {}, **options)


def execute(name: str, content: str, *flags: str) -> Tool:
    return reassign(" ".join(["--execute", "--reassignment-json-file", name, *flags]), {name: content})


def verify(name: str, *flags: str, **options) -> Tool:
    return reassign(" ".join(["--verify", "--reassignment-json-file", name, *flags]), **options)


LIST = reassign("--list", each=True)
SHOWN = Tool("kafka-topics --describe --topic r", each=True)
MADE = Tool("kafka-topics --create --topic r --replica-assignment 1:2,2:3")
PREFERRED = "kafka-leader-election --election-type preferred"

CHAPTERS = [
    Chapter(
        "reassign-order",
        "the same replicas in another order: done at once, and the leader stays until one is elected",
        [
            MADE,
            LIST,
            reassign(
                "--generate --topics-to-move-json-file topics.json --broker-list 1,2,3",
                {"topics.json": '{"topics":[{"topic":"r"}],"version":1}'},
            ),
            execute("order.json", plan({0: [2, 1], 1: [3, 2]})),
            verify("order.json", until=("Reassignment of partition r-1 is completed",)),
            SHOWN,
            LIST,
            Tool(f"{PREFERRED} --topic r --partition 0"),
            SHOWN,
            Tool(f"{PREFERRED} --topic r --partition 0"),
            Tool(
                f"{PREFERRED} --path-to-json-file elect.json",
                files={"elect.json": json.dumps({"partitions": [{"topic": "r", "partition": 1}]})},
            ),
            SHOWN,
            Tool(f"{PREFERRED} --all-topic-partitions"),
            execute("back.json", plan({0: [1, 2], 1: [2, 3]}), "--throttle", "1000000"),
            verify("back.json", until=("Clearing topic-level throttles",)),
            calls.kadm("describe_broker_configs", brokers=[1, 2, 3], each=True),
            Tool("kafka-configs --describe --entity-type topics --entity-name r", each=True),
            SHOWN,
            calls.elect(("r", 0), ("r", 1)),
            calls.elect(("r", 0), ("r", 1)),
            SHOWN,
        ],
    ),
    Chapter(
        "reassign-refused",
        "what cannot be carried out is said, and nothing moves",
        [
            MADE,
            reassign(
                "--generate --topics-to-move-json-file topics.json --broker-list 1,2,9",
                {"topics.json": '{"topics":[{"topic":"r"}],"version":1}'},
            ),
            execute("unknown-broker.json", plan({0: [1, 9]})),
            execute("unknown-topic.json", plan({0: [1, 2]}, topic="nothing")),
            execute("unknown-partition.json", plan({7: [1, 2]})),
            execute("twice.json", plan({0: [1, 1]})),
            execute("none.json", plan({0: []})),
            execute("not.json", "not json"),
            reassign("--cancel --reassignment-json-file idle.json", {"idle.json": plan({0: [1, 2]})}),
            calls.kadm("alter_assignment", topic="r", assignment={"0": [1, 9], "1": [2, 2]}),
            calls.kadm("alter_assignment", topic="r", assignment={"0": []}),
            calls.kadm("alter_assignment", topic="r", assignment={"7": [1, 2]}),
            calls.kadm("alter_assignment", topic="r", assignment={"0": None}),
            calls.kadm("list_reassignments", topic="r", assignment={"0": None, "1": None}, each=True),
            LIST,
            SHOWN,
        ],
    ),
    Chapter(
        "elections-refused",
        "elections that are not needed or not possible",
        [
            MADE,
            Tool(f"{PREFERRED} --topic nothing --partition 0"),
            Tool(f"{PREFERRED} --topic r --partition 7"),
            Tool("kafka-leader-election --election-type unclean --topic r --partition 0"),
            calls.elect(("r", 0), ("r", 7), ("nothing", 0)),
            calls.elect(("r", 0), kind="UNCLEAN"),
            calls.kadm("elect_leaders", topic="r", assignment={"0": None, "1": None}),
            SHOWN,
        ],
    ),
    Chapter(
        "reassign-moves",
        "replicas move to brokers that had none: copied, in sync, and gone from where they were",
        [
            MADE,
            execute("move.json", plan({0: [2, 3], 1: [3, 1]})),
            verify("move.json", until=("Reassignment of partition r-1 is completed",)),
            SHOWN,
            LIST,
            Tool("kafka-log-dirs --describe --topic-list r", each=True, until=("broker 3",)),
            execute("more.json", plan({0: [1, 2, 3]})),
            verify("more.json", until=("Reassignment of partition r-0 is completed",)),
            SHOWN,
            execute("fewer.json", plan({0: [3]})),
            verify("fewer.json", until=("Reassignment of partition r-0 is completed",)),
            SHOWN,
        ],
    ),
]

BROKEN = [
    Chapter(
        "reassign-waits",
        "a reassignment to a broker that is down stays under way; it can be listed, replaced and cancelled",
        [
            MADE,
            Tool("kafka-topics --create --topic s --replica-assignment 1:2"),
            stop(3),
            execute("move.json", plan({0: [1, 3]})),
            calls.kadm("alter_assignment", topic="r", assignment={"0": [1, 3]}),
            LIST,
            verify("move.json", "--preserve-throttles"),
            SHOWN,
            calls.kadm("list_reassignments", topic="r", assignment={"0": None}, each=True),
            execute("elsewhere.json", plan({0: [2, 1]})),
            calls.kadm("alter_assignment", topic="r", assignment={"0": [2, 3]}),
            LIST,
            SHOWN,
            verify("move.json", "--preserve-throttles"),
            calls.kadm("alter_assignment", topic="r", assignment={"1": [3, 2]}),
            SHOWN,
            reassign(
                "--cancel --preserve-throttles --reassignment-json-file other.json", {"other.json": plan({0: [2, 3]})}
            ),
            LIST,
            SHOWN,
            calls.kadm("alter_assignment", topic="s", assignment={"0": [1, 2, 3]}),
            calls.kadm("list_reassignments", topic="s", assignment={"0": None}, each=True),
            Tool("kafka-topics --describe --topic s", each=True),
            calls.kadm("alter_assignment", topic="s", assignment={"0": None}),
            Tool("kafka-topics --describe --topic s", each=True),
            LIST,
            start(3),
        ],
    ),
]
