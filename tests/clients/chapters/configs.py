"""Configs of topics, of groups, of one broker and of the whole cluster, and which of them counts."""

from harness.transcript import Chapter, Tool

from . import calls


def configs(line: str, **options) -> Tool:
    return Tool(f"kafka-configs {line}", **options)


def alter(entity: str, change: str) -> Tool:
    return configs(f"--alter {entity} {change}")


def shown(entity: str, *flags: str, **options) -> Tool:
    return configs(" ".join(["--describe", entity, *flags]), each=True, **options)


T = "--entity-type topics --entity-name t"
ONE, OTHER = "--entity-type brokers --entity-name 1", "--entity-type brokers --entity-name 2"
DEFAULT = "--entity-type brokers --entity-default"
G, OTHER_G = "--entity-type groups --entity-name g", "--entity-type groups --entity-name h"
ALL_G = "--entity-type groups"
TOPIC_MADE = Tool("kafka-topics --create --topic t --replica-assignment 1:2:3")

CHAPTERS = [
    Chapter(
        "configs-of-topics",
        "set, shown by every broker, taken back, refused",
        [
            TOPIC_MADE,
            shown(T),
            shown(T, "--all"),
            alter(T, "--add-config retention.ms=60000,max.message.bytes=2000"),
            shown(T),
            alter(T, "--add-config cleanup.policy=[compact,delete] --delete-config max.message.bytes"),
            shown(T),
            calls.alter("TOPIC", "t", ("SUBTRACT", "cleanup.policy", "delete")),
            calls.alter("TOPIC", "t", ("APPEND", "cleanup.policy", "delete"), ("SET", "segment.bytes", "2097152")),
            calls.alter("TOPIC", "t", ("APPEND", "retention.ms", "5")),
            shown(T),
            alter(T, "--delete-config retention.ms,segment.bytes,cleanup.policy"),
            shown(T),
            alter(T, "--delete-config retention.ms"),
            alter(T, "--add-config retention.ms=soon"),
            alter(T, "--add-config no.such.config=1"),
            alter(T, "--add-config cleanup.policy=burn"),
            alter(T, "--add-config segment.bytes=1"),
            alter(T, "--add-config min.insync.replicas=0"),
            alter(T, "--add-config retention.ms=60000,no.such.config=1"),
            alter("--entity-type topics --entity-name nothing", "--add-config retention.ms=1"),
            shown("--entity-type topics --entity-name nothing"),
            calls.alter("TOPIC", "t", ("SET", "retention.ms", "-2")),
            calls.alter("TOPIC", "nothing", ("SET", "retention.ms", "1")),
            calls.kadm("alter_configs", topic="t", configs={"retention.ms": "70000"}),
            shown(T),
        ],
    ),
    Chapter(
        "configs-of-brokers",
        "of one broker and of all: which one counts, through whichever broker it is asked",
        [
            TOPIC_MADE,
            shown(ONE),
            shown(DEFAULT),
            alter(DEFAULT, "--add-config log.retention.ms=80000,message.max.bytes=3000000"),
            alter(ONE, "--add-config log.retention.ms=90000"),
            shown(DEFAULT),
            shown(ONE),
            shown(OTHER),
            calls.kadm("describe_broker_configs", brokers=[1, 2, 3], each=True),
            calls.kadm("alter_broker_configs", brokers=[3], configs={"log.roll.ms": "100000"}),
            calls.kadm("describe_broker_configs", brokers=[3], each=True),
            calls.kadm("describe_broker_configs", each=True),
            alter(ONE, "--delete-config log.retention.ms"),
            shown(ONE),
            alter(DEFAULT, "--delete-config log.retention.ms,message.max.bytes"),
            calls.kadm("alter_broker_configs", brokers=[3], configs={"log.roll.ms": None}),
            shown(DEFAULT),
            shown(ONE),
            shown("--entity-type brokers --entity-name 3"),
        ],
    ),
    Chapter(
        "configs-of-brokers-refused",
        "what cannot be changed while brokers run, and what no broker knows",
        [
            alter(ONE, "--add-config node.id=7"),
            alter(ONE, "--add-config num.partitions=7"),
            alter(DEFAULT, "--add-config num.partitions=7"),
            alter(ONE, "--add-config log.retention.ms=soon"),
            alter(DEFAULT, "--add-config log.segment.bytes=-1"),
            alter(ONE, "--delete-config log.retention.ms"),
            configs("--describe --entity-type brokers --entity-name x", each=True),
            calls.alter("BROKER", "1", ("SET", "broker.rack", "z")),
            calls.alter("BROKER", "1", ("SET", "max.connections", "-5")),
            calls.kadm("alter_broker_configs", configs={"log.cleanup.policy": "burn"}),
            calls.alter("BROKER", "x", ("SET", "log.retention.ms", "5")),
            shown(DEFAULT),
            shown(ONE),
        ],
    ),
    Chapter(
        "configs-of-all-brokers-reach-topics",
        "a topic without an own value follows the cluster's default",
        [
            TOPIC_MADE,
            alter(DEFAULT, "--add-config log.retention.ms=80000,log.cleanup.policy=compact"),
            calls.kadm("describe_configs", topic="t", each=True),
            alter(T, "--add-config retention.ms=90000"),
            shown(T),
            alter(DEFAULT, "--delete-config log.retention.ms,log.cleanup.policy"),
            shown(T),
        ],
    ),
    Chapter(
        "configs-of-groups",
        "set, shown by every broker, taken back, refused; the groups need not exist",
        [
            shown(G),
            shown(ALL_G),
            alter(G, "--add-config consumer.session.timeout.ms=50000,consumer.heartbeat.interval.ms=10000"),
            shown(G),
            alter(OTHER_G, "--add-config consumer.assignment.interval.ms=2000"),
            shown(ALL_G),
            alter(G, "--delete-config consumer.session.timeout.ms"),
            shown(G),
            alter(G, "--add-config no.such.config=1"),
            alter(G, "--add-config consumer.session.timeout.ms=soon"),
            alter(G, "--add-config consumer.session.timeout.ms=0"),
            alter(G, "--add-config consumer.session.timeout.ms=44999"),
            alter(G, "--add-config consumer.session.timeout.ms=60001"),
            alter(G, "--add-config consumer.heartbeat.interval.ms=4999"),
            alter(G, "--add-config consumer.heartbeat.interval.ms=15001"),
            alter(G, "--add-config consumer.assignment.interval.ms=15001"),
            alter(G, "--add-config consumer.session.timeout.ms=50000,no.such.config=1"),
            alter("--entity-type groups --entity-default", "--add-config consumer.session.timeout.ms=50000"),
            shown(G),
            alter(G, "--delete-config consumer.heartbeat.interval.ms,no.such.config"),
            alter(OTHER_G, "--delete-config consumer.assignment.interval.ms"),
            shown(ALL_G),
        ],
    ),
]
