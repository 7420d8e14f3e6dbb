"""Topics: made, shown, grown, deleted, refused."""

from harness.transcript import Chapter, Tool

from . import calls


def topics(line: str, **options) -> Tool:
    return Tool(f"kafka-topics {line}", **options)


def shown(topic: str, *flags: str, **options) -> Tool:
    return topics(" ".join(["--describe", "--topic", topic, *flags]), each=True, **options)


LONG = "x" * 250

CHAPTERS = [
    Chapter(
        "topics-create",
        "by default, with replicas, with replicas given by hand, with configs",
        [
            topics("--create --topic plain"),
            shown("plain", free_placement=True),
            topics("--create --topic three --partitions 3 --replication-factor 3"),
            shown("three", free_placement=True),
            topics("--create --topic six --partitions 6 --replication-factor 2"),
            shown("six", free_placement=True),
            topics("--create --topic manual --replica-assignment 1:2:3,2:3:1,3:1:2"),
            shown("manual"),
            calls.describe_topic("manual"),
            calls.kadm("describe_topic", topic="manual", each=True),
            topics("--create --topic pairs --replica-assignment 3:1,1:2"),
            shown("pairs"),
            topics(
                "--create --topic configured --replica-assignment 2:1"
                " --config retention.ms=60000 --config cleanup.policy=compact,delete --config min.insync.replicas=2"
            ),
            shown("configured"),
            topics("--create --topic manual --if-not-exists"),
            topics("--list --exclude-internal", each=True),
            topics("--describe --topic 'man.*|pairs'", each=True),
            topics("--describe --topic configured --topics-with-overrides", each=True),
            topics("--describe --topic manual --topics-with-overrides", each=True),
        ],
    ),
    Chapter(
        "topics-create-by-client",
        "what an admin client may ask for and the tool does not",
        [
            calls.create("checked", num_partitions=2, replication_factor=3, validate_only=True),
            topics("--list --exclude-internal", each=True),
            calls.create("byhand", replica_assignment=[[3, 2], [2, 1], [1, 3]]),
            shown("byhand"),
            calls.create("defaults", num_partitions=-1, replication_factor=-1),
            shown("defaults", free_placement=True),
            calls.create("configured", num_partitions=1, replication_factor=3, config={"segment.bytes": "2097152"}),
            shown("configured", free_placement=True),
            calls.create("checked", replica_assignment=[[1, 1]], validate_only=True),
        ],
    ),
    Chapter(
        "topics-alter",
        "more partitions, chosen and by hand; never fewer",
        [
            topics("--create --topic grows --replica-assignment 1:2,2:3"),
            topics("--alter --topic grows --partitions 4 --replica-assignment 1:2,2:3,3:1,1:3"),
            shown("grows"),
            topics("--create --topic chosen --partitions 3 --replication-factor 3"),
            topics("--alter --topic chosen --partitions 6"),
            topics("--describe --topic chosen --at-min-isr-partitions", each=True),
            topics("--alter --topic grows --partitions 4"),
            topics("--alter --topic grows --partitions 3"),
            topics("--alter --topic nothing --partitions 3"),
            topics("--alter --topic nothing --partitions 3 --if-exists"),
            calls.grow("grows", 6, [[2, 1], [3, 2]]),
            calls.grow("grows", 7, [[2, 1], [3, 2]]),
            calls.grow("grows", 7, [[9, 1]]),
            calls.grow("grows", 7, [[1, 1]]),
            calls.grow("grows", 7, [[1, 2, 3]]),
            calls.grow("grows", 7, [[1]]),
            shown("grows"),
        ],
    ),
    Chapter(
        "topics-delete",
        "gone from every broker, and free to be made again",
        [
            topics("--create --topic gone --replica-assignment 1:2:3"),
            topics("--create --topic stays --replica-assignment 3:2:1"),
            topics("--delete --topic gone"),
            topics("--list --exclude-internal", each=True),
            topics("--describe --topic gone", each=True),
            topics("--delete --topic gone"),
            topics("--delete --topic gone --if-exists"),
            calls.delete("gone"),
            topics("--create --topic gone --replica-assignment 2,3"),
            shown("gone"),
            shown("stays"),
        ],
    ),
    Chapter(
        "topics-refused",
        "what is wrong is said, and nothing comes to be",
        [
            topics("--create --topic there --replica-assignment 1:2:3"),
            topics("--create --topic there"),
            topics("--create --topic refused --replication-factor 4 --partitions 1"),
            topics("--create --topic refused --replication-factor 0 --partitions 1"),
            topics("--create --topic refused --partitions 0"),
            topics("--create --topic refused --replica-assignment 1:2,2:9"),
            topics("--create --topic refused --replica-assignment 1:1,2:3"),
            topics("--create --topic refused --replica-assignment 1:2,3"),
            topics("--create --topic 'with space'"),
            topics("--create --topic sl/ash"),
            topics("--create --topic .."),
            topics(f"--create --topic {LONG}"),
            topics("--create --topic col.li_ding"),
            topics("--create --topic col_li.ding"),
            topics("--create --topic refused --config no.such.config=1"),
            topics("--create --topic refused --config retention.ms=soon"),
            topics("--create --topic refused --config cleanup.policy=burn"),
            topics("--create --topic refused --config segment.bytes=10"),
            topics("--create --topic refused --config min.insync.replicas=0"),
            calls.create("refused", num_partitions=1, replication_factor=4),
            calls.create("refused", replica_assignment=[[1, 2], [2, 9]]),
            calls.create("refused", replica_assignment=[[1, 1]]),
            calls.create("refused", replica_assignment=[[1, 2], [3]]),
            calls.create("refused", replica_assignment=[[-1]]),
            calls.create("refused", num_partitions=1, replication_factor=1, config={"retention.ms": "-2"}),
            calls.create("there", num_partitions=1, replication_factor=1),
            calls.create("there", num_partitions=1, replication_factor=1, validate_only=True),
            topics("--list --exclude-internal", each=True),
        ],
    ),
    Chapter(
        "topics-health",
        "which partitions lack replicas, leaders or room for a failure: none in a whole cluster, but by their configs",
        [
            topics("--create --topic strict --replica-assignment 1:2:3,2:3:1 --config min.insync.replicas=3"),
            topics("--create --topic single --replica-assignment 1,2,3"),
            topics("--create --topic impossible --replica-assignment 1:2 --config min.insync.replicas=3"),
            topics("--describe --under-replicated-partitions", each=True),
            topics("--describe --unavailable-partitions", each=True),
            topics("--describe --exclude-internal --at-min-isr-partitions", each=True),
            topics("--describe --under-min-isr-partitions", each=True),
        ],
    ),
]
