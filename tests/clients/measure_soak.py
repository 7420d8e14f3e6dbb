"""How three brokers fare over half an hour of everything: steady load, clients that come and go, restarts, retention.

    measure_soak.py [--minutes 30] [--rate 1000] [--restart-every 240] [--json FILE]

Node 1 is never restarted, so that its memory and descriptors tell; nodes 2 and 3 take turns, by SIGTERM and, every third
time, by SIGKILL. A topic of six partitions with three replicas takes `--rate` records of 1 KiB a second with acks=all, and
keeps 32 MiB a partition, so that retention sets in after a minute or two; a compacted one takes a third of that. A group
reads both for as long as it lasts and checks that nothing acknowledged is missing, nor anything out of order. Beside them,
every half second, a producer, a group's member and connections that break off in the middle come and go.

Printed is a line a minute (latency of the steady producer, and node 1's memory and descriptors), and at the end how memory
and descriptors went after the first fifth, and what the brokers logged as errors. Its status is 1 if there was any, or if
memory, descriptors or the p99 of minutes without restarts grew. Not a test, and pytest does not collect it; run it with
`.cache/clients/venv/bin/python` on a machine that does nothing else.
"""

import argparse
import contextlib
import itertools
import json
import statistics
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from harness import usage
from harness.cluster import Cluster
from harness.soak import Churn, Reader, SteadyProducer
from harness.wait import wait_until

MIB = 1 << 20
TOPIC, COMPACTED = "soak", "soak-compacted"
PARTITIONS = 6
SETTINGS = {
    "log.retention.check.interval.ms": "10000",
    "log.cleaner.backoff.ms": "5000",
    "offsets.topic.num.partitions": "12",
    "min.insync.replicas": "2",
    "max.connections.per.ip": "20000",
}
CONFIGS = {"retention.bytes": str(32 * MIB), "segment.bytes": str(8 * MIB), "min.insync.replicas": "2"}
COMPACTED_CONFIGS = {"cleanup.policy": "compact", "segment.bytes": str(8 * MIB), "min.insync.replicas": "2"}
SAMPLE_S = 5.0
# What may come of noise: anything that leaks or decays for long goes beyond.
DRIFT_MAX = {"rss": 1.15, "files": 1.25, "p99_quiet": 3.0}


def percentile(sorted_values: list[float], share: float) -> float:
    return sorted_values[min(int(share * len(sorted_values)), len(sorted_values) - 1)] if sorted_values else float("nan")


def slope_per_hour(samples: list[tuple[float, float]]) -> float:
    """Of the least-squares line through (seconds, value)."""
    if len(samples) < 2:
        return float("nan")
    return statistics.linear_regression(*zip(*samples)).slope * 3600


def drift(values: list[float]) -> float:
    """How many times of the second fifth's median the last fifth's is."""
    fifth = max(len(values) // 5, 1)
    return statistics.median(values[-fifth:]) / statistics.median(values[fifth : 2 * fifth] or values)


def sample(cluster: Cluster, node: int) -> dict:
    pid = cluster[node].pid
    return {"rss_mib": usage.rss_bytes(pid) / MIB, "files": cluster[node].open_files(), "cpu_s": usage.cpu_seconds(pid)}


def restarts(cluster: Cluster, every_s: float, ended: threading.Event, events: list):
    """Nodes 2 and 3 by turns, in the middle of a minute that is reported."""
    began = time.monotonic() + 15.0
    for turn in itertools.count(1):
        if ended.wait(max(0.0, began + turn * every_s - time.monotonic())):
            return
        node, how = 2 + turn % 2, "SIGKILL" if turn % 3 == 0 else "SIGTERM"
        at = time.monotonic()
        if how == "SIGKILL":
            cluster[node].kill9()
        else:
            status = cluster[node].stop()
            assert status == 0, f"node {node}: exit status {status} after SIGTERM"
        down = time.monotonic()
        ended.wait(5.0)
        cluster.start_nodes(node)
        events.append({"at": at, "node": node, "how": how, "stop_s": down - at, "start_s": time.monotonic() - down - 5.0})


def error_lines(cluster: Cluster) -> list[str]:
    lines = []
    for node in cluster.nodes.values():
        for log in sorted(node.dir.glob("broker.*.log")):
            found = [line for line in log.read_text(errors="replace").splitlines() if " ERROR " in line or "panicked" in line]
            lines += [f"node {node.id}, {log.name}: {line}" for line in found]
    return lines


def soak(options) -> dict:
    cluster = Cluster("soak", SETTINGS)
    try:
        cluster.start()
        everywhere = {p: [(p + i) % 3 + 1 for i in range(3)] for p in range(PARTITIONS)}
        cluster.create_topic(TOPIC, everywhere, CONFIGS)
        cluster.create_topic(COMPACTED, everywhere, COMPACTED_CONFIGS)
        ended, events = threading.Event(), []
        with contextlib.ExitStack() as stack:
            producer = stack.enter_context(SteadyProducer(cluster.bootstrap, TOPIC, PARTITIONS, options.rate))
            keyed = stack.enter_context(
                SteadyProducer(cluster.bootstrap, COMPACTED, PARTITIONS, options.rate // 3, keys=20_000)
            )
            readers = [stack.enter_context(Reader(cluster.bootstrap, topic)) for topic in (TOPIC, COMPACTED)]
            churn = stack.enter_context(Churn(cluster.bootstrap, [cluster[n].address for n in (1, 2, 3)]))
            restarting = stack.enter_context(ThreadPoolExecutor(1)).submit(
                restarts, cluster, options.restart_every, ended, events
            )
            stack.callback(ended.set)
            began, minutes, samples = time.monotonic(), [], []
            for minute in range(options.minutes):
                while time.monotonic() < began + 60 * (minute + 1):
                    time.sleep(SAMPLE_S)
                    samples.append((time.monotonic() - began, sample(cluster, 1)))
                    for part in (producer, keyed, *readers, churn):
                        part.check()
                    cluster[1].check_alive()
                    if restarting.done():
                        restarting.result()
                latencies = sorted(producer.take_latencies())
                _, last = samples[-1]
                within = [e for e in events if 0 <= e["at"] - began - 60 * minute < 60]
                row = {
                    "minute": minute + 1,
                    "records": len(latencies),
                    "p50_ms": percentile(latencies, 0.5) * 1000,
                    "p99_ms": percentile(latencies, 0.99) * 1000,
                    "p999_ms": percentile(latencies, 0.999) * 1000,
                    "max_ms": (latencies[-1] if latencies else float("nan")) * 1000,
                    "rss_mib": last["rss_mib"],
                    "files": last["files"],
                    "retention": producer.log_start() > 0,
                    "events": [f"{e['how']} {e['node']}" for e in within],
                }
                minutes.append(row)
                print(line(row), flush=True)
            ended.set()
            restarting.result()
            producer.stop()
            keyed.stop()
            for part, reader in zip((producer, keyed), readers):
                wait_until(lambda: reader.has_read(part.acknowledged), "all that was acknowledged to be read", 120)
                reader.check()
        settled = [(at, s) for at, s in samples if at > 60 * options.minutes / 5]
        quiet = [m for m in minutes if m["retention"] and not m["events"]]
        statuses = cluster.stop()
        return {
            "minutes": minutes,
            "restarts": events,
            "records": producer.acknowledged_total() + keyed.acknowledged_total(),
            "read": sum(reader.count for reader in readers),
            "churned": churn.counts,
            "rss_mib_per_hour": slope_per_hour([(at, s["rss_mib"]) for at, s in settled]),
            "rss_mib": [min(s["rss_mib"] for _, s in settled), max(s["rss_mib"] for _, s in settled)],
            "files_per_hour": slope_per_hour([(at, s["files"]) for at, s in settled]),
            "files": [min(s["files"] for _, s in settled), max(s["files"] for _, s in settled)],
            "p99_ms_quiet": [m["p99_ms"] for m in quiet],
            "drift": {
                "rss": drift([s["rss_mib"] for _, s in samples]),
                "files": drift([s["files"] for _, s in samples]),
                "p99_quiet": drift([m["p99_ms"] for m in quiet]) if quiet else float("nan"),
            },
            "exit_statuses": statuses,
            "errors": error_lines(cluster),
        }
    finally:
        if sys.exc_info()[0] is not None:
            print(cluster.logs(), file=sys.stderr)
        cluster.discard()


def line(m: dict) -> str:
    events = ", ".join(m["events"] + ([] if m["retention"] else ["retention not yet at work"]))
    return (
        f"| {m['minute']:>2} | {m['records']:>7,} | {m['p50_ms']:.1f} / {m['p99_ms']:.1f} / {m['p999_ms']:.0f} / "
        f"{m['max_ms']:.0f} | {m['rss_mib']:.0f} | {m['files']} | {events} |"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, default=30)
    parser.add_argument("--rate", type=int, default=1_000, help="records a second of the steady producer")
    parser.add_argument("--restart-every", type=float, default=240.0, metavar="SECONDS")
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    print("| minute | records | latency p50 / p99 / p99.9 / max, ms | node 1: RSS, MiB | files | |")
    print("|---|---|---|---|---|---|", flush=True)
    result = soak(options)
    summary = {key: value for key, value in result.items() if key not in ("minutes", "restarts")}
    print(json.dumps(summary, indent=1))
    if options.json:
        with open(options.json, "w") as out:
            json.dump(result, out, indent=1)
    drifts = [f"{name} {times:.2f}x" for name, times in result["drift"].items() if not times <= DRIFT_MAX[name]]
    if drifts:
        print(f"not steady: {', '.join(drifts)} from the second fifth of the time to the last", file=sys.stderr)
    return 1 if drifts or result["errors"] or any(result["exit_statuses"].values()) else 0


if __name__ == "__main__":
    sys.exit(main())
