"""Consumer groups: listed, described, their offsets reset and deleted, and they themselves; by Kafka's tools and by admin clients.

Every chapter is made for either protocol (classic, and consumer, which is KIP-848's), since what tools print differs.
"""

import json

from confluent_kafka import ConsumerGroupState, ConsumerGroupTopicPartitions, ConsumerGroupType, KafkaException, TopicPartition

from harness.clients import CONFLUENT
from harness.cluster import Cluster
from harness.group_members import ChapterMembers
from harness.groups import commit
from harness.records import T0, Record
from harness.transcript import Call, Chapter, Do, Tool
from harness.wait import PATIENCE_S

from . import calls
from .calls import _client

MEMBERS = ChapterMembers()
SECOND_MS = 1000


def groups(line: str, **options) -> Tool:
    return Tool(f"kafka-consumer-groups {line}", **options)


def listed(line: str) -> Tool:
    return Tool(f"kafka-consumer-groups --list {line}".rstrip(), any_order=True)


def topic(name: str, partitions: int, per_partition: int) -> Do:
    """Numbered records a second apart, of an hour ago, as many in each partition."""

    def do(cluster: Cluster):
        cluster.create_topic(name, {p: [1 + p % 3] for p in range(partitions)})
        cluster.settle()
        CONFLUENT.produce(
            cluster.bootstrap,
            name,
            [
                Record(value=b"%d" % i, partition=p, timestamp=T0 + i * SECOND_MS)
                for i in range(per_partition)
                for p in range(partitions)
            ],
        )

    return Do(f"topic {name}: {partitions} partitions of {per_partition} records, an hour old, a second apart", do)


def join(group: str, name: str, topics: list[str], shares: dict[str, int], **more) -> Do:
    """A member that reads and commits all there is; `shares` are the members' by then."""
    told = "".join(f", {key} {value}" for key, value in more.items())
    return Do(
        f"{name} joins {group}, subscribed to {', '.join(topics)}{told}, and commits all",
        lambda cluster: MEMBERS.join(cluster, group, name, topics, shares, **more),
    )


def leave(name: str) -> Do:
    return Do(f"{name} closes", lambda cluster: MEMBERS.leave(name))


def committed(group: str, name: str, offsets: dict[int, int]) -> Do:
    """Of a group without members: it comes to be, with just offsets, or has them changed."""
    return Do(f"{group} commits {offsets} of {name}", lambda cluster: commit(cluster.bootstrap, group, name, offsets))


def without(name: str) -> Do:
    def do(cluster: Cluster):
        client = _client(cluster.bootstrap)
        client.delete_topics([name])[name].result(PATIENCE_S)

    return Do(f"topic {name} is deleted", do)


def reset(line: str, group="empty", how="--dry-run", **options) -> Tool:
    return groups(f"--reset-offsets --group {group} {line} {how}".rstrip(), **options)


def described(group: str, flags: str = "") -> Tool:
    return groups(f"--describe --group {group} {flags}".rstrip())


# Admin clients' calls.
def _error(e: KafkaException) -> str:
    return f"{e.args[0].name()}: {e.args[0].str()}"


def confluent(label: str, function) -> Call:
    """A call of confluent-kafka's AdminClient; refusals with the broker's words."""

    def call(bootstrap):
        try:
            return function(_client(bootstrap))
        except KafkaException as e:
            return _error(e)

    return Call(f"confluent-kafka {label}", call)


def list_groups(**filters) -> Call:
    def call(client):
        found = client.list_consumer_groups(**filters).result(PATIENCE_S)
        assert not found.errors, found.errors
        return {g.group_id: [g.state.name, g.type.name, g.is_simple_consumer_group] for g in found.valid}

    shown = {name: sorted(value.name for value in values) for name, values in filters.items()}
    return confluent(f"list_consumer_groups {json.dumps(shown)}", call)


def list_offsets(group: str) -> Call:
    def call(client):
        found = client.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)])[group].result(PATIENCE_S)
        return {f"{p.topic}-{p.partition}": p.offset for p in found.topic_partitions}

    return confluent(f"list_consumer_group_offsets {group}", call)


def alter_offsets(group: str, name: str, offsets: dict[int, int]) -> Call:
    def call(client):
        wanted = ConsumerGroupTopicPartitions(group, [TopicPartition(name, p, o) for p, o in offsets.items()])
        found = client.alter_consumer_group_offsets([wanted])[group].result(PATIENCE_S)
        return {f"{p.topic}-{p.partition}": p.error and f"{p.error.name()}: {p.error.str()}" for p in found.topic_partitions}

    return confluent(f"alter_consumer_group_offsets {group} {name} {json.dumps(offsets)}", call)


def delete_groups(*names: str) -> Call:
    def call(client):
        told = {}
        for name, future in client.delete_consumer_groups(list(names)).items():
            try:
                future.result(PATIENCE_S)
                told[name] = "ok"
            except KafkaException as e:
                told[name] = _error(e)
        return told

    return confluent(f"delete_consumer_groups {', '.join(names)}", call)


MANY = [f"many-{n:02}" for n in range(20)]


def chapters(protocol: str) -> list[Chapter]:
    prefix = "groups" if protocol == "classic" else "consumer-groups"
    more = {} if protocol == "classic" else {"protocol": protocol}

    def active(name: str, shares: dict[str, int], topics=("t",), group="active", **options) -> Do:
        return join(group, name, list(topics), shares, **more, **options)

    # Only where names decide who gets what: the ids of the other protocol's members are random.
    shared = (
        active("z", {"a": 3, "z": 1}, ("t", "u")),
        described("active", "--members --verbose"),
        described("active"),
        leave("z"),
    )

    asked_the_other_way = (
        calls.kadm("describe_shares", group="active", kind="classic"),
        calls.kadm("describe_shares", group="empty", kind="consumer"),
    )

    def chapter(name: str, about: str, steps: list) -> Chapter:
        title = f"{about} ({protocol} protocol)"
        return Chapter(f"{prefix}-{name}", title, steps, consumer_protocol=protocol == "consumer")

    return [
        chapter(
            "list",
            "one with a member, one without, by state and type",
            [
                listed(""),
                listed("--state"),
                topic("t", 3, 5),
                active("a", {"a": 3}),
                committed("empty", "t", {0: 2}),
                listed(""),
                listed("--state"),
                listed("--state stable"),
                listed("--state Empty,Stable"),
                listed("--type"),
                listed("--type classic"),
                listed("--type consumer"),
                listed("--state --type"),
                Tool("kafka-groups --list", any_order=True),
                Tool("kafka-groups --list --group-type classic", any_order=True),
                Tool("kafka-groups --list --consumer", any_order=True),
                leave("a"),
                listed("--state"),
            ],
        ),
        chapter(
            "describe",
            "offsets, members and state of groups with members, without, and of none",
            [
                topic("t", 3, 5),
                topic("u", 1, 4),
                active("a", {"a": 4}, ("t", "u")),
                committed("empty", "t", {0: 2, 2: 5}),
                described("active"),
                described("active", "--offsets --verbose"),
                described("active", "--members"),
                described("active", "--members --verbose"),
                described("active", "--state"),
                described("active", "--state --verbose"),
                described("empty"),
                described("empty", "--members"),
                described("empty", "--state"),
                described("nothing"),
                described("nothing", "--members"),
                described("nothing", "--state"),
                groups("--describe --all-groups --state", any_order=True),
                groups("--describe --all-groups --members", any_order=True),
                groups("--describe --all-groups --offsets", any_order=True),
                *(shared if protocol == "classic" else ()),
                leave("a"),
                described("active"),
                without("u"),
                described("active"),
            ],
        ),
        chapter(
            "static",
            "a member with an instance id, which it keeps when it closes",
            [
                topic("t", 2, 5),
                active("a", {"a": 2}, instance="first"),
                described("active"),
                described("active", "--members --verbose"),
                leave("a"),
                described("active", "--members"),
                calls.kadm("remove_members", group="active", instances=["first", "second"]),
                described("active", "--state"),
            ],
        ),
        chapter(
            "reset",
            "to every place, tried and done, of one partition and of all; not while there are members",
            [
                topic("t", 2, 10),
                topic("u", 1, 4),
                active("a", {"a": 3}, ("t", "u")),
                leave("a"),
                reset("--topic t --to-earliest", "active"),
                described("active"),
                reset("--topic t --to-earliest", "active", "--execute"),
                described("active"),
                reset("--topic t:1 --to-latest", "active", "--execute"),
                reset("--topic t --to-offset 4", "active", "--execute"),
                reset("--topic t --to-offset 100", "active"),
                reset("--topic t --to-offset -5", "active"),
                reset("--topic t --shift-by 3", "active", "--execute"),
                reset("--topic t --shift-by -2", "active", "--execute"),
                reset("--topic t:0 --shift-by 100", "active"),
                reset("--all-topics --by-duration P1D", "active"),
                reset("--all-topics --by-duration PT1S", "active"),
                reset("--topic t --to-datetime 2033-01-01T00:00:00.000", "active"),
                reset("--topic t --to-current", "active"),
                reset("--all-topics --to-current --export", "active", any_order=True),
                reset("--all-topics --from-file plan.csv", "active", "--execute", files={"plan.csv": '"t",0,1\n"u",0,3\n'}),
                described("active"),
                reset("--topic t --topic u:0 --to-earliest --export", "active", any_order=True),
                reset("--topic nothing --to-earliest", "active"),
                reset("--topic t:7 --to-earliest", "active"),
                reset("--topic t --to-latest", "new", "--execute"),
                described("new"),
                groups("--reset-offsets --all-groups --all-topics --to-earliest --dry-run", any_order=True),
                active("a", {"a": 3}, ("t", "u")),
                reset("--topic t --to-earliest", "active"),
                reset("--topic t --to-earliest", "active", "--execute"),
            ],
        ),
        chapter(
            "delete",
            "not while there are members; several at once",
            [
                topic("t", 2, 5),
                active("a", {"a": 2}),
                committed("one", "t", {0: 1}),
                committed("two", "t", {0: 1}),
                committed("three", "t", {0: 1}),
                groups("--delete --group active"),
                groups("--delete --group nothing"),
                groups("--delete --group one"),
                groups("--delete --group one"),
                groups("--delete --group two --group active", any_order=True),
                listed("--state"),
                groups("--delete --all-groups", any_order=True),
                listed("--state"),
                leave("a"),
                groups("--delete --group active"),
                listed("--state"),
                described("active"),
            ],
        ),
        chapter(
            "delete-offsets",
            "of topics that nobody is subscribed to",
            [
                topic("t", 2, 5),
                topic("u", 2, 5),
                active("a", {"a": 4}, ("t", "u")),
                leave("a"),
                groups("--delete-offsets --group active --topic u:0"),
                described("active"),
                active("a", {"a": 2}),
                groups("--delete-offsets --group active --topic t"),
                groups("--delete-offsets --group active --topic t:1 --topic u"),
                groups("--delete-offsets --group active --topic u"),
                described("active"),
                leave("a"),
                groups("--delete-offsets --group active --topic t:1"),
                groups("--delete-offsets --group active --topic t:9"),
                groups("--delete-offsets --group active --topic nothing"),
                groups("--delete-offsets --group nothing --topic t"),
                described("active"),
            ],
        ),
        chapter(
            "admin",
            "what admin clients are told, of one group and of many",
            [
                topic("t", 2, 5),
                active("a", {"a": 2}),
                committed("empty", "t", {0: 2, 1: 3}),
                list_groups(),
                list_groups(states={ConsumerGroupState.STABLE}),
                list_groups(types={ConsumerGroupType.CLASSIC}),
                list_groups(types={ConsumerGroupType.CONSUMER}),
                list_offsets("empty"),
                list_offsets("active"),
                list_offsets("nothing"),
                alter_offsets("empty", "t", {0: 4}),
                alter_offsets("empty", "nothing", {0: 4}),
                alter_offsets("active", "t", {0: 1}),
                alter_offsets("created", "t", {1: 1}),
                list_offsets("created"),
                delete_groups("created", "active", "nothing"),
                calls.kadm("describe_shares", group="active", kind=protocol),
                *(asked_the_other_way if protocol == "consumer" else ()),
                calls.kadm("describe_shares", group="nothing", kind=protocol),
                calls.kafka_python("list_groups", lambda client: sorted(g["group_id"] for g in client.list_groups())),
                Do(
                    f"{len(MANY)} groups commit",
                    lambda cluster: [commit(cluster.bootstrap, name, "t", {0: 1, 1: 2}) for name in MANY] and None,
                ),
                calls.kadm("list_groups_by_type"),
                calls.kadm("list_groups_by_type", states=["Empty"]),
                calls.kadm("list_groups_by_type", types=["consumer"]),
                calls.kadm("describe_groups", groups=[*MANY, "nothing", "active"]),
                calls.kadm("fetch_offsets_of_groups", groups=[*MANY, "nothing", "active"]),
                calls.kadm("delete_groups", groups=[*MANY, "nothing", "active"]),
                list_groups(),
            ],
        ),
    ]


CHAPTERS = [*chapters("classic"), *chapters("consumer")]
