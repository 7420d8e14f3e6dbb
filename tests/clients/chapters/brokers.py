"""The cluster itself: its id, its brokers, its quorum, where logs lie, and a broker that is stopped or taken out."""

from harness import quorum
from harness.admins import ConfluentAdmin
from harness.cluster import Cluster
from harness.quorum import Unanswered
from harness.transcript import Chapter, Do, Tool
from harness.wait import wait_until

from . import calls


def members(cluster: Cluster):
    """DescribeCluster with fenced brokers, asked of every running broker over a socket; they must agree."""
    views = {node.id: quorum.describe_cluster(node.address) for node in cluster.running()}
    told = {
        node_id: [[m.id, m.rack, "fenced" if m.fenced else "unfenced"] for m in view.members]
        for node_id, view in views.items()
    }
    assert len({str(found) for found in told.values()}) == 1, f"brokers disagree: {told}"
    assert len({view.cluster_id for view in views.values()}) == 1
    assert all(view.controller in view.unfenced() for view in views.values())
    return next(iter(told.values()))


def leader(cluster: Cluster):
    """DescribeQuorum, asked of every running broker; they must agree."""
    told = {quorum.describe_quorum(node.address).leader for node in cluster.running()}
    assert len(told) == 1 and told <= {node.id for node in cluster.running()}, f"leaders: {told}"
    return "every broker names the same leader, which runs"


def coordinators(key_type: int, keys: list[str]):
    """FindCoordinator through every broker: the same one, at the address that DescribeCluster gives for it."""

    def ask(cluster: Cluster):
        addresses = {node.id: node.address for node in cluster.nodes.values()}
        for key in keys:
            told = set()
            for node in cluster.running():

                def answer(node=node, key=key):
                    try:
                        return quorum.find_coordinator(node.address, key, key_type)
                    except Unanswered:  # the internal topic is only being made
                        return None

                told.add(wait_until(answer, f"a coordinator of {key} by broker {node.id}"))
            assert len(told) == 1, f"coordinators of {key}: {told}"
            node_id, host, port = told.pop()
            assert addresses[node_id] == (host, port), f"coordinator of {key}: {node_id} at {host}:{port}"
        return f"one coordinator for each of {len(keys)} keys, the same through each broker"

    return ask


def led_by_running(topic: str, partitions: int, replicas: int):
    """A topic whose replicas Kafka chose: brokers that are down may be among them, but never as leaders."""

    def ask(cluster: Cluster):
        for node in cluster.running():
            found = ConfluentAdmin(node.bootstrap).describe_topic(topic)
            assert set(found) == set(range(partitions)), found
            for leader, assigned, in_sync in found.values():
                assert len(set(assigned)) == len(assigned) == replicas, found
                assert leader in in_sync and set(in_sync) <= {n.id for n in cluster.running()}, found
        return f"{partitions} partitions of {replicas} distinct replicas, each led by a broker that runs"

    return ask


def stop(node_id: int) -> Do:
    def do(cluster: Cluster):
        cluster[node_id].stop()
        cluster.wait_formed(set(cluster.nodes) - {node_id})

    return Do(f"broker {node_id} is stopped (SIGTERM)", do)


def start(node_id: int) -> Do:
    return Do(f"broker {node_id} is started", lambda cluster: cluster.start_nodes(node_id))


def cluster_tool(line: str, **options) -> Tool:
    return Tool(f"kafka-cluster {line}", **options)


def topics(line: str, **options) -> Tool:
    return Tool(f"kafka-topics {line}", each=True, **options)


ENDPOINTS = cluster_tool("list-endpoints", each=True)
ALL_ENDPOINTS = cluster_tool("list-endpoints --include-fenced-brokers", each=True)
MEMBERS = Do("DescribeCluster with fenced brokers, of each broker", members)
LEADER = Do("DescribeQuorum, of each broker", leader)

CHAPTERS = [
    Chapter(
        "cluster",
        "its id, brokers, racks, by every client and through every broker",
        [
            cluster_tool("cluster-id", each=True),
            ENDPOINTS,
            ALL_ENDPOINTS,
            MEMBERS,
            calls.describe_cluster_confluent(),
            calls.kafka_python(
                "describe_cluster",
                lambda client: sorted(
                    [b["broker_id"], f"{b['host']}:{b['port']}", b["rack"]]
                    for b in client.describe_cluster()["brokers"]
                ),
                each=True,
            ),
            calls.kafka_python(
                "describe_metadata_quorum",
                lambda client: [
                    sorted(v["replica_id"] for v in p["current_voters"])
                    for t in client.describe_metadata_quorum()["topics"]
                    for p in t["partitions"]
                ],
                each=True,
            ),
            cluster_tool("unregister --id 9"),
            cluster_tool("unregister --id -1"),
            MEMBERS,
        ],
    ),
    Chapter(
        "quorum",
        "the metadata quorum: three voters, one leader",
        [
            Tool("kafka-metadata-quorum describe --status", each=True),
            Tool("kafka-metadata-quorum describe --replication", each=True),
            LEADER,
        ],
    ),
    Chapter(
        "log-dirs",
        "who holds which replica",
        [
            Tool("kafka-topics --create --topic held --replica-assignment 1:2,3:1"),
            Tool("kafka-log-dirs --describe --topic-list held", each=True),
            Tool("kafka-log-dirs --describe --topic-list held --broker-list 2,3", each=True),
            Tool("kafka-log-dirs --describe --topic-list nothing", each=True),
            Tool("kafka-log-dirs --describe --topic-list held --broker-list 1,9", each=True),
            Tool("kafka-topics --alter --topic held --partitions 3 --replica-assignment 1:2,3:1,2:3"),
            Tool("kafka-log-dirs --describe --topic-list held", each=True),
        ],
    ),
    Chapter(
        "coordinators",
        "every broker names the same coordinator",
        [
            Do("FindCoordinator of groups", coordinators(quorum.GROUP_KEY, [f"group-{n}" for n in range(8)])),
        ],
    ),
]

BROKEN = [
    Chapter(
        "broker-stopped",
        "a stopped broker is fenced and still registered; its replicas leave the ISR; topics can be made",
        [
            Tool("kafka-topics --create --topic led --replica-assignment 3:1:2,1:2:3 --config min.insync.replicas=2"),
            Tool("kafka-topics --create --topic single --replica-assignment 3,1"),
            stop(3),
            ENDPOINTS,
            ALL_ENDPOINTS,
            MEMBERS,
            LEADER,
            topics("--describe --topic led"),
            topics("--describe --under-replicated-partitions --topic led"),
            topics("--describe --at-min-isr-partitions --topic led"),
            Tool("kafka-metadata-quorum describe --status", each=True),
            Tool("kafka-topics --create --topic pair --partitions 2 --replication-factor 2"),
            Do("the topic's partitions", led_by_running("pair", 2, 2)),
            Tool("kafka-topics --create --topic triple --partitions 1 --replication-factor 3"),
            Tool("kafka-topics --create --topic partly --replica-assignment 3:1,2:3"),
            topics("--describe --topic partly"),
            Tool("kafka-topics --create --topic fenced --replica-assignment 3"),
            Tool("kafka-log-dirs --describe --topic-list partly", each=True),
            Tool("kafka-leader-election --election-type preferred --topic led --partition 0"),
            Tool("kafka-topics --delete --topic led"),
            topics("--list --exclude-internal"),
            start(3),
            MEMBERS,
            topics("--list --exclude-internal"),
            topics("--describe --topic single", until=("Leader: 3",)),
        ],
    ),
    Chapter(
        "broker-last-in-sync",
        "the last replica in sync is an eligible leader when its broker stops (KIP-966), and leads when it is back",
        [
            Tool("kafka-topics --create --topic last --replica-assignment 3,1"),
            stop(3),
            topics("--describe --topic last"),
            topics("--describe --under-replicated-partitions --topic last"),
            topics("--describe --unavailable-partitions"),
            topics("--describe --at-min-isr-partitions --topic last"),
            topics("--describe --under-min-isr-partitions"),
            start(3),
            topics("--describe --topic last", until=("Leader: 3",)),
        ],
    ),
    Chapter(
        "broker-returns",
        "a broker that was stopped catches up, joins every ISR, and can lead again",
        [
            # Not a name that was used before: Kafka's restarted broker may still have the old topic's configs.
            Tool("kafka-topics --create --topic back --replica-assignment 3:1:2,1:2:3"),
            stop(3),
            topics("--describe --topic back"),
            start(3),
            topics("--describe --topic back", until=("Replicas: 3,1,2 Isr: 1,2,3", "Replicas: 1,2,3 Isr: 1,2,3")),
            topics("--describe --under-replicated-partitions"),
            Tool("kafka-leader-election --election-type preferred --topic back --partition 0"),
            topics("--describe --topic back"),
        ],
    ),
    Chapter(
        "broker-unregistered",
        "taken out of the cluster, gone from every broker's list, and registered again by being started",
        [
            stop(2),
            cluster_tool("unregister --id 2"),
            ENDPOINTS,
            ALL_ENDPOINTS,
            MEMBERS,
            cluster_tool("unregister --id 2"),
            Tool("kafka-topics --create --topic refused --replica-assignment 1:2"),
            Tool("kafka-topics --create --topic refused --partitions 1 --replication-factor 3"),
            start(2),
            ALL_ENDPOINTS,
            MEMBERS,
            Tool("kafka-topics --create --topic taken --replica-assignment 2:1"),
            topics("--describe --topic taken"),
        ],
    ),
]
