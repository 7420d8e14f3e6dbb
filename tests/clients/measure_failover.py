"""How long a partition takes no writes when its leader fails, as clients see it: Ringlog and Apache Kafka side by side.

    measure_failover.py [--against ringlog,kafka] [--kinds kill,term,stop,cut,isolate,many] [--rounds 20] [--json FILE]

Clusters of three brokers, of which all vote, in network namespaces where root may make them. Each round has new
topics of three replicas (min.insync.replicas=2) with the same leader, one for each of the clients of
`harness/steady.py`. When all have been acknowledged for a while the fault strikes the leader, in every third round
one that is the metadata controller too. The figure is the longest time without an acknowledgement. Rounds of the
systems take turns; the other cluster idles meanwhile. `many` is another: partitions led by one broker, which is
killed, until all are led and written to.

Not a test: nothing is asserted, and pytest does not collect it. Run it with `.cache/clients/venv/bin/python`.
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

from harness import failover_log, failover_many, paths, quorum, replicas
from harness.cluster import Cluster
from harness.netns import Network
from harness.quorum import Unanswered
from harness.steady import ConfluentSteady, JavaSteady, ProbeSteady, Steady
from harness.wait import wait_until

WARM_UP_S = 2.0
# The longest that a default client waits for an answer (librdkafka's socket.timeout.ms), and a little.
CLIENT_PATIENCE_S = 75.0
START_PATIENCE_S = 300.0
CLIENTS = ("probe", "librdkafka", "java")


class Fault:
    """What happens to the leader, and how it ends."""

    needs_network = False

    def __init__(self, cluster: Cluster, network: Network | None, host: int, victim: int):
        self.cluster, self.network, self.host, self.victim = cluster, network, host, victim

    @property
    def node(self):
        return self.cluster[self.victim]

    def strike(self):
        raise NotImplementedError

    def end(self):
        raise NotImplementedError


class Killed(Fault):
    title = "kill -9"

    def strike(self):
        self.node.kill9()

    def end(self):
        self.cluster.start_nodes(self.victim)


class Terminated(Killed):
    title = "SIGTERM"

    def strike(self):
        self.node.stop()


class Stopped(Fault):
    title = "SIGSTOP"

    def strike(self):
        self.node.pause()

    def end(self):
        self.node.resume()
        self.cluster.wait_formed()


class CutOff(Fault):
    title = "cut off from brokers"
    needs_network = True

    def strike(self):
        self.network.isolate(self.host)

    def end(self):
        self.network.heal(self.host)
        self.cluster.wait_formed()


class Isolated(CutOff):
    title = "cut off from everybody"

    def strike(self):
        self.network.isolate(self.host)
        self.network.isolate_from_clients(self.host)


KINDS = {"kill": Killed, "term": Terminated, "stop": Stopped, "cut": CutOff, "isolate": Isolated}


def choose_victim(cluster: Cluster, number: int) -> tuple[int, bool]:
    """In every third round the controller, else the others in turn; and whether it is the controller."""
    controller = cluster.wait_controller()
    others = sorted(set(cluster.nodes) - {controller})
    victim = controller if number % 3 == 0 else others[number % 2]
    return victim, victim == controller


def one_round(options, cluster: Cluster, network, first_host: int, kind: str, number: int) -> dict:
    """One fault; what it was, and what each client saw."""
    victim, was_controller = choose_victim(cluster, number)
    others = sorted(set(cluster.nodes) - {victim}, reverse=number % 2 == 0)
    assignment = {0: [victim, *others]}
    topics = {client: f"{kind}-{number}-{client}" for client in CLIENTS}
    for topic in topics.values():
        replicas.create(cluster, topic, assignment, {"min.insync.replicas": "2"})
    fault = KINDS[kind](cluster, network, first_host + victim - 1, victim)
    addresses = {node.id: node.address for node in cluster.nodes.values()}
    per_second = options.per_second
    clients: list[Steady] = [
        ProbeSteady(cluster.bootstrap, topics["probe"], per_second, addresses, victim),
        ConfluentSteady(cluster.bootstrap, topics["librdkafka"], per_second),
        JavaSteady(cluster.bootstrap, topics["java"], per_second),
    ]
    result = {"against": cluster.against, "kind": kind, "victim_was_controller": was_controller}
    try:
        for client in clients:
            client.start()
        for client in clients:
            client.wait_acknowledged(per_second // 2, START_PATIENCE_S)
        time.sleep(WARM_UP_S)
        with failover_log.Watch(cluster, topics["probe"], victim) as watch:
            struck = time.monotonic()
            watch.begin(struck)
            fault.strike()
            result["struck_within_s"] = round(time.monotonic() - struck, 4)
            wait_gone_on(clients, struck + result["struck_within_s"])
            result["load_average"] = os.getloadavg()[0]
        result["steps_s"] = dict(watch.seen)
        if cluster.against == "ringlog":
            result["steps_s"] |= failover_log.by_logs(cluster, topics["probe"], victim, struck)
        for client in clients:
            began, ended = client.gap(struck)
            result[client.name] = {
                "gap_s": round(ended - began, 4),
                "acknowledged_again_s": round(ended - struck, 4),
                "recovered": client.has_gone_on(struck),
                "by_second": client.by_second(struck),
                "errors": client.errors_after(struck)[:3],
            }
    finally:
        for client in clients:
            client.stop()
    fault.end()
    for topic in topics.values():
        replicas.wait_in_sync(cluster, topic, {0: set(assignment[0])}, timeout_s=120)
    for topic in topics.values():
        delete_topic(cluster, topic)
    return result


def wait_gone_on(clients: list[Steady], since: float):
    """Until all of them go on, or have been given up; a client that does not is told by the result."""
    with contextlib.suppress(AssertionError):
        wait_until(lambda: all(c.has_gone_on(since) for c in clients), "clients", CLIENT_PATIENCE_S, poll_s=0.05)


def delete_topic(cluster: Cluster, topic: str):
    def deleted():
        try:
            quorum.delete_topic(cluster.running()[0].address, topic)
            return True
        except Unanswered as e:
            return "error code 3" in str(e)  # by an attempt that was not answered

    wait_until(deleted, f"{topic} to be deleted")


def median_and_worst(values: list[float]) -> str:
    return f"{statistics.median(values):.3f} / {max(values):.3f}" if values else "-"


def table(results: list[dict], systems: list[str]) -> str:
    """Markdown: a row for each kind of fault and client."""
    lines = [
        "| leader | client | " + " | ".join(f"{s}: rounds, median / worst, s" for s in systems) + " |",
        "|---|---|" + "--:|" * len(systems),
    ]
    split = {"": lambda r: True, ", and controller": lambda r: r["victim_was_controller"],
             ", not controller": lambda r: not r["victim_was_controller"]}  # fmt: skip
    for kind, (suffix, wanted), client in itertools.product(KINDS, split.items(), CLIENTS):
        mine = [r for r in results if r["kind"] == kind and wanted(r) and client in r]
        if not mine or (suffix and len({r["victim_was_controller"] for r in results if r["kind"] == kind}) < 2):
            continue
        cells = []
        for system in systems:
            gaps = [r[client]["gap_s"] for r in mine if r["against"] == system]
            errors = sum(len(r[client]["errors"]) for r in mine if r["against"] == system)
            cells.append(f"{len(gaps)}: {median_and_worst(gaps)}" + (f", {errors} errors" if errors else ""))
        lines.append(f"| {KINDS[kind].title}{suffix} | {client} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def steps_table(results: list[dict], systems: list[str]) -> str:
    """Markdown: when a failover's steps came, by system, kind and whether the controller was hit."""
    names = [*failover_log.STEPS, *(f"{c} acknowledged" for c in CLIENTS)]
    lines = ["| seconds since the fault, median / worst | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for system, kind, controller in itertools.product(systems, KINDS, (True, False)):
        mine = [
            r for r in results if (r["against"], r["kind"], r["victim_was_controller"]) == (system, kind, controller)
        ]
        if not mine:
            continue
        seen = [[r["steps_s"][step] for r in mine if step in r["steps_s"]] for step in failover_log.STEPS]
        seen += [[r[client]["acknowledged_again_s"] for r in mine] for client in CLIENTS]
        title = f"{system}: {KINDS[kind].title}, {'controller' if controller else 'not controller'} ({len(mine)})"
        lines.append(f"| {title} | " + " | ".join(map(median_and_worst, seen)) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="ringlog,kafka", help="ringlog, kafka or both, separated by a comma")
    parser.add_argument("--kinds", default=",".join([*KINDS, "many"]))
    parser.add_argument("--rounds", type=int, default=20, help="of kill and term")
    parser.add_argument("--other-rounds", type=int, default=3, help="of each of the others")
    parser.add_argument("--per-second", type=int, default=500, help="records of each client")
    parser.add_argument("--partitions", type=int, default=1000, help="of many")
    parser.add_argument(
        "--session-timeout-ms", type=int, default=9000, help="broker.session.timeout.ms (default: Kafka's)"
    )
    parser.add_argument(
        "--heartbeat-interval-ms", type=int, default=2000, help="broker.heartbeat.interval.ms (Kafka's)"
    )
    parser.add_argument("--json", type=Path, help="where to write every round's figures")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that brokers and networks go
    systems, kinds = options.against.split(","), options.kinds.split(",")
    settings = {
        "broker.session.timeout.ms": str(options.session_timeout_ms),
        "broker.heartbeat.interval.ms": str(options.heartbeat_interval_ms),
    }
    os.environ["RINGLOG_LOG_LEVEL"] = failover_log.LOG_LEVEL
    results, many = [], []
    with contextlib.ExitStack() as stack:
        try:
            network = stack.enter_context(Network(3 * len(systems)))
        except OSError as e:
            network = None
            print(
                f"no network namespaces ({e}): without {[k for k in kinds if k in KINDS and KINDS[k].needs_network]}"
            )
        clusters = []
        for n, system in enumerate(systems):
            places = network and network.places()[3 * n : 3 * n + 3]
            cluster = Cluster(f"failover-{system}", settings, places=places, against=system)
            for node in cluster.nodes.values():
                node.environment["RINGLOG_LOG_LEVEL"] = failover_log.LOG_LEVEL
            stack.callback(cluster.discard)
            stack.callback(cluster.kill_all)
            clusters.append((cluster.start(), 3 * n + 1))
        for kind in [k for k in kinds if k in KINDS and (network or not KINDS[k].needs_network)]:
            for number in range(options.rounds if kind in ("kill", "term") else options.other_rounds):
                for cluster, first_host in clusters:
                    results.append(one_round(options, cluster, network, first_host, kind, number))
                    print(json.dumps(results[-1]), flush=True)
        if "many" in kinds:
            for number, (cluster, _) in itertools.product(range(options.other_rounds), clusters):
                victim, was_controller = choose_victim(cluster, number)
                result = failover_many.measure(cluster, f"many-{number}", victim, options.partitions)
                many.append({"against": cluster.against, "victim_was_controller": was_controller, **result})
                delete_topic(cluster, f"many-{number}")
                print(json.dumps(many[-1]), flush=True)
    about = {
        "settings": settings,
        "records_per_s_of_each_client": options.per_second,
        "load_average": os.getloadavg(),
        "ringlog": str(paths.ringlog_binary()),
    }
    print("\n" + json.dumps(about) + "\n\n" + table(results, systems) + "\n\n" + steps_table(results, systems))
    print("\n" + failover_many.table(many, systems, options.partitions))
    if options.json:
        options.json.write_text(json.dumps({**about, "rounds": results, "many": many}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
