"""What consumer groups cost a broker, and how long they pause when their coordinator fails: Ringlog and Apache Kafka.

    measure_groups.py load     [--against ringlog,kafka] [--protocols classic,consumer] [--groups 1000] [--members 10]
                               [--seconds 600] [--heartbeat 3s] [--commit 0] [--json FILE]
    measure_groups.py failover [--against ringlog,kafka] [--faults kill,pause] [--groups 1000] [--rounds 5] [--json FILE]

`load` starts one broker, has all members join (a connection each), lets them be for some seconds, and then counts for as
long as it is told: CPU seconds of the broker's process, its resident memory, how many heartbeats were answered and how
fast. Systems and protocols take turns, each alone on the machine; a protocol that a broker does not serve is left out.
With the classic protocol members send heartbeats every `--heartbeat`, with the consumer protocol (KIP-848) as often as the
broker says (5 s). `failover` has one broker of three coordinate all groups, each with a member that commits every 100 ms,
and kills or pauses it: how long until the last of the groups has committed again.

Not a test: nothing is asserted but that committed offsets are right, and pytest does not collect it. Run it with
`.cache/clients/venv/bin/python`. Members come from `groupload`, which run.sh --install-only builds.
"""

import argparse
import contextlib
import itertools
import json
import os
import signal
import statistics
import sys
import time
from pathlib import Path

from harness import paths, quorum, replicas, usage, wire
from harness.broker import Broker, KafkaBroker, RinglogBroker
from harness.cluster import Cluster
from harness.coordinators import OFFSETS, gather, other_than_controller
from harness.group_load import GroupLoad
from harness.quorum import Unanswered
from harness.wait import wait_until

TOPIC = "measured"
CONSUMER_GROUP_HEARTBEAT = 68
SETTLE_S = 5.0
SAMPLE_S = 1.0
MIB = 1 << 20
GONE_ON_TIMEOUT_S = 180.0


def new_broker(against: str, connections: int) -> Broker:
    # Members of a group are to find each other at once, and leaders of partitions to be spread as by default.
    settings = {"group.initial.rebalance.delay.ms": "3000", "offsets.topic.num.partitions": "50"}
    if against == "kafka":
        return KafkaBroker("groups-kafka", settings)
    return RinglogBroker("groups-ringlog", settings, flags=["--connections-max", str(connections)])


def made(broker: Broker, partitions: int):
    def there():
        try:
            node = wire.brokers(broker.address)[0][0]
            quorum.create_topic(broker.address, TOPIC, {p: [node] for p in range(partitions)})
            return True
        except (Unanswered, OSError, wire.Closed) as e:
            return "error code 36" in str(e)

    wait_until(there, "the topic")


def measured_load(options, against: str, protocol: str) -> dict | None:
    """One broker under heartbeats; None if it does not serve the protocol."""
    # Beside the members' own, clients have a few to find their way.
    broker = new_broker(against, options.groups * options.members + 1000)
    try:
        broker.start()
        if protocol == "consumer" and CONSUMER_GROUP_HEARTBEAT not in wire.api_versions(broker.address):
            return None
        made(broker, options.members)
        time.sleep(SETTLE_S)
        idle = broker.rss_bytes()
        began, cpu_began = time.monotonic(), broker.cpu_seconds()
        with GroupLoad(
            broker.bootstrap, TOPIC, options.groups, options.members, protocol=protocol, heartbeat=options.heartbeat,
            commit=options.commit, session="45s", request_timeout="30s", joining=options.joining,
        ) as load:  # fmt: skip
            load.wait_stable(timeout_s=600)
            joined_s, joined_cpu = time.monotonic() - began, broker.cpu_seconds() - cpu_began
            time.sleep(SETTLE_S)
            own = load.process.pid
            load.mark()
            cpu, own_cpu, began = broker.cpu_seconds(), usage.cpu_seconds(own), time.monotonic()
            rss = []
            while time.monotonic() - began < options.seconds:
                time.sleep(SAMPLE_S)
                rss.append(broker.rss_bytes())
            seconds = time.monotonic() - began
            cpu, own_cpu = broker.cpu_seconds() - cpu, usage.cpu_seconds(own) - own_cpu
            status = load.status()
        return {
            "against": against,
            "protocol": protocol,
            "seconds": round(seconds, 1),
            "heartbeats": status.heartbeats,
            "commits": status.commits,
            "joins": status.joins,
            "errors": status.errors,
            "violations": status.violations,
            "heartbeat_ms": status.heartbeat_ms,
            "cpu_s": round(cpu, 2),
            "cpu_us_per_request": round(cpu / max(status.heartbeats + status.commits, 1) * 1e6, 1),
            "rss_mib_mean": round(statistics.mean(rss) / MIB, 1),
            "rss_mib_max": round(max(rss) / MIB, 1),
            "rss_mib_before": round(idle / MIB, 1),
            "joining_s": round(joined_s, 1),
            "joining_cpu_s": round(joined_cpu, 2),
            "load_cpu_s": round(own_cpu, 2),
        }
    finally:
        broker.discard()


def load_table(results: list[dict]) -> str:
    columns = [
        "system, protocol", "heartbeats/s", "CPU, s per minute", "CPU, us per request", "RSS before, MiB",
        "RSS, MiB", "heartbeat p50 / p99 / max, ms", "joining, s (CPU s)", "the load's CPU, s per minute",
    ]  # fmt: skip
    lines = ["| " + " | ".join(columns) + " |", "|---|" + "--:|" * (len(columns) - 1)]
    for r in results:
        minutes, latency = r["seconds"] / 60, r["heartbeat_ms"]
        cells = [
            f"{r['against']}, {r['protocol']}",
            f"{r['heartbeats'] / r['seconds']:.0f}",
            f"{r['cpu_s'] / minutes:.1f}",
            f"{r['cpu_us_per_request']:.0f}",
            f"{r['rss_mib_before']:.0f}",
            f"{r['rss_mib_mean']:.0f}",
            f"{latency.get('p50', 0):.1f} / {latency.get('p99', 0):.1f} / {latency.get('max', 0):.1f}",
            f"{r['joining_s']:.1f} ({r['joining_cpu_s']:.1f})",
            f"{r['load_cpu_s'] / minutes:.1f}",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def one_failover(options, cluster: Cluster, fault: str, number: int) -> dict:
    was_controller = number % 2 == 1
    coordinator = cluster.wait_controller() if was_controller else other_than_controller(cluster)
    isr = gather(cluster, coordinator)
    topic = f"{fault}-{number}"
    replicas.create(cluster, topic, {0: sorted(set(cluster.nodes) - {coordinator})})
    node = cluster[coordinator]
    with GroupLoad(cluster.bootstrap, topic, options.groups, commit="100ms", prefix=topic) as load:
        load.wait_stable()
        time.sleep(SETTLE_S)
        load.mark()
        node.kill9() if fault == "kill" else node.pause()
        status = load.wait_gone_on(GONE_ON_TIMEOUT_S)
        checked = load.check()
        node.resume() if fault == "pause" else cluster.start_nodes(coordinator)
        replicas.wait_in_sync(cluster, OFFSETS, isr, timeout_s=120)
    return {
        "against": cluster.against,
        "fault": fault,
        "was_controller": was_controller,
        "gone_on_s": round(status.seconds, 3),
        "joined_again": status.joins,
        "errors": status.errors,
        "checked": checked.checked,
        "violations": checked.violations,
    }


def failover_table(results: list[dict], systems: list[str], faults: list[str]) -> str:
    lines = [
        "| coordinator | " + " | ".join(f"{s}: rounds, median / worst, s" for s in systems) + " |",
        "|---|" + "--:|" * len(systems),
    ]
    for fault, controller in itertools.product(faults, (False, True)):
        cells = []
        for system in systems:
            key = (system, fault, controller)
            took = [r["gone_on_s"] for r in results if (r["against"], r["fault"], r["was_controller"]) == key]
            cells.append(f"{len(took)}: {statistics.median(took):.2f} / {max(took):.2f}" if took else "-")
        title = {"kill": "kill -9", "pause": "SIGSTOP"}[fault] + (", and controller" if controller else "")
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def measure_load(options, systems: list[str]) -> tuple[list[dict], str]:
    results = []
    for protocol, system in itertools.product(options.protocols.split(","), systems):
        result = measured_load(options, system, protocol)
        if result:
            results.append(result)
            print(json.dumps(result), flush=True)
    return results, load_table(results)


def measure_failover(options, systems: list[str]) -> tuple[list[dict], str]:
    results, faults = [], options.faults.split(",")
    for system in systems:
        # With Kafka's own session timeout of brokers, 9 s.
        settings = {"broker.session.timeout.ms": "9000", "broker.heartbeat.interval.ms": "2000"}
        cluster = Cluster(f"groups-{system}", {**settings, "offsets.topic.num.partitions": "50"}, against=system)
        with contextlib.ExitStack() as stack:
            stack.callback(cluster.discard)
            stack.callback(cluster.kill_all)
            cluster.start()
            for fault, number in itertools.product(faults, range(options.rounds)):
                results.append(one_failover(options, cluster, fault, number))
                print(json.dumps(results[-1]), flush=True)
    return results, failover_table(results, systems, faults)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    load, failover = commands.add_parser("load"), commands.add_parser("failover")
    for command in (load, failover):
        command.add_argument("--against", default="ringlog,kafka", help="ringlog, kafka or both, separated by a comma")
        command.add_argument("--groups", type=int, default=1000)
        command.add_argument("--json", type=Path, help="where to write the figures")
    load.add_argument("--protocols", default="classic,consumer")
    load.add_argument("--members", type=int, default=10, help="of each group")
    load.add_argument("--seconds", type=float, default=600)
    load.add_argument("--heartbeat", default="3s", help="between heartbeats of the classic protocol")
    load.add_argument("--commit", default="0", help="between commits of a member; 0 for none")
    load.add_argument("--joining", type=int, default=20000, help="members that begin to join at the same time")
    failover.add_argument("--faults", default="kill,pause")
    failover.add_argument("--rounds", type=int, default=4, help="of each; in every second the coordinator is the controller")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that brokers go
    measure = measure_load if options.command == "load" else measure_failover
    results, table = measure(options, options.against.split(","))
    about = {
        "command": sys.argv[1:],
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "ringlog": str(paths.ringlog_binary()),
    }
    print("\n" + json.dumps(about) + "\n\n" + table)
    if options.json:
        options.json.write_text(json.dumps({**about, "results": results}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
