"""What it takes to compact a large log of small records, of Ringlog and of Apache Kafka.

    measure_compaction.py [--against ringlog,kafka] [--records 100000000] [--keys 5000000] [--value-bytes 50]
                          [--segment-bytes 268435456] [--set NAME=VALUE ...] [--json FILE]

One broker, one partition: it is filled with records whose keys come in random order, as a topic that is not compacted. Then
cleanup.policy becomes compact, and the clock runs until the whole log below the active segment is clean. Afterwards the
partition is read from the start, and every record is compared with the one expected there. Of the broker's process CPU and
the peak of its resident memory (VmHWM) are taken while it compacts; sizes are what files take on disk. Systems are measured
one after the other, each alone on the machine. Needs about 2.5 times the log's size on disk.

Not a test, and pytest does not collect it. Run it with `.cache/clients/venv/bin/python`; records come from `keyedload`, which
run.sh --install-only builds.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from harness import paths
from harness.admins import ConfluentAdmin
from harness.broker import Broker, KafkaBroker, RinglogBroker
from harness.topics import create_topic
from harness.wait import wait_until

TOPIC = "measured"
PATIENCE_S = 3600.0
MIB = 1 << 20


def load(broker: Broker, options, command: str, **more) -> dict:
    words = {
        "brokers": broker.bootstrap, "topic": TOPIC, "records": options.records, "keys": options.keys,
        "value-bytes": options.value_bytes, **more,
    }  # fmt: skip
    flags = [word for name, value in words.items() for word in (f"-{name}", str(value))]
    done = subprocess.run([str(paths.KEYEDLOAD), command, *flags], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


class Memory:
    """The peak of a process's resident memory since this was made."""

    def __init__(self, pid: int):
        self.status = Path(f"/proc/{pid}/status")
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        self.before_mib = self._mib("VmRSS")

    def peak_mib(self) -> float:
        return self._mib("VmHWM")

    def _mib(self, field: str) -> float:
        return int(re.search(rf"{field}:\s+(\d+) kB", self.status.read_text())[1]) / 1024


class Log:
    """The partition's files."""

    def __init__(self, broker: Broker):
        self.broker = broker
        (self.dir,) = broker.data_dir.glob(f"**/{TOPIC}-0")

    def segments(self) -> list[int]:
        return sorted(int(path.stem) for path in self.dir.glob("*.log"))

    def bytes(self) -> int:
        sizes = []
        for path in self.dir.iterdir():
            try:
                sizes.append(path.stat().st_blocks * 512)
            except FileNotFoundError:
                continue
        return sum(sizes)

    def clean_to(self) -> int:
        """Up to where it was compacted, by the broker's own notes."""
        if self.broker.kind == "kafka":
            notes = self.broker.data_dir / "cleaner-offset-checkpoint"
            found = re.findall(rf"^{TOPIC} 0 (\d+)$", notes.read_text() if notes.exists() else "", re.MULTILINE)
        else:
            found = re.findall(rf"log compacted topic={TOPIC} .*first_dirty: (\d+)", self.broker.log_text())
        return int(found[-1]) if found else 0

    def passes(self) -> list[dict]:
        """What Ringlog says of each of its passes."""
        told = re.findall(rf"log compacted topic={TOPIC} .*CompactionReport {{ (.*) }}", self.broker.log_text())
        return [{name: int(value) for name, value in re.findall(r"(\w+): (\d+)", one)} for one in told]


def measured(options, against: str) -> dict:
    kind = {"ringlog": RinglogBroker, "kafka": KafkaBroker}[against]
    settings = {"log.cleaner.backoff.ms": "1000", **dict(pair.split("=", 1) for pair in options.set)}
    broker = kind(f"compaction-{against}", settings)
    try:
        broker.start()
        create_topic(broker.bootstrap, TOPIC, 1, {
            "cleanup.policy": "delete", "retention.ms": "-1", "segment.bytes": str(options.segment_bytes),
        })  # fmt: skip
        filled = load(broker, options, "fill")
        log = Log(broker)
        bytes_before, active = log.bytes(), log.segments()[-1]
        memory, cpu, began = Memory(broker.pid), broker.cpu_seconds(), time.monotonic()
        policy = {
            "cleanup.policy": "compact", "segment.bytes": str(options.segment_bytes), "min.cleanable.dirty.ratio": "0",
        }  # fmt: skip
        ConfluentAdmin(broker.bootstrap).alter_configs(TOPIC, policy)

        most_bytes = bytes_before

        def clean():
            nonlocal most_bytes
            broker.check_alive()
            most_bytes = max(most_bytes, log.bytes())
            return log.clean_to() >= active

        wait_until(clean, "the log to be clean", PATIENCE_S, poll_s=0.25)
        seconds, cpu = time.monotonic() - began, broker.cpu_seconds() - cpu
        peak_mib = memory.peak_mib()
        segments = log.segments()
        assert segments[-1] == active, "it rolled meanwhile"
        if against == "kafka":  # it deletes the old files a minute later
            wait_until(lambda: not list(log.dir.glob("*.deleted")), "old files to go", PATIENCE_S, poll_s=1)
        bytes_after = log.bytes()
        checked = load(broker, options, "check", **{"clean-to": active})
        return {
            "against": against,
            "records": options.records,
            "filled_per_s": round(filled["records"] / filled["seconds"]),
            "bytes_before": bytes_before,
            "seconds": round(seconds, 1),
            "clean_to": active,
            "cpu_s": round(cpu, 1),
            "rss_before_mib": round(memory.before_mib, 1),
            "rss_peak_mib": round(peak_mib, 1),
            "bytes_most": most_bytes,
            "bytes_after": bytes_after,
            "segments_after": len(segments),
            "passes": log.passes(),
            "read": checked,
        }
    finally:
        broker.discard()


def table(results: list[dict]) -> str:
    rows = {
        "records (below the active segment)": lambda r: f"{r['records']:,} ({r['clean_to']:,})",
        "log before, MiB": lambda r: f"{r['bytes_before'] / MIB:,.0f}",
        "until clean, s": lambda r: f"{r['seconds']:.1f}",
        "of that, CPU of the broker, s": lambda r: f"{r['cpu_s']:.1f}",
        "million records compacted a second": lambda r: f"{r['clean_to'] / r['seconds'] / 1e6:.2f}",
        "resident memory before / peak, MiB": lambda r: f"{r['rss_before_mib']:.0f} / {r['rss_peak_mib']:.0f}",
        "most on disk meanwhile, MiB": lambda r: f"{r['bytes_most'] / MIB:,.0f}",
        "log after, MiB": lambda r: f"{r['bytes_after'] / MIB:,.0f}",
        "keys below the active segment": lambda r: f"{r['read']['keys_below']:,}",
        "records read from the start": lambda r: f"{r['read']['records']:,}",
        "of them in the active segment": lambda r: f"{r['read']['records_above']:,}",
        "reading took, s": lambda r: f"{r['read']['seconds']:.1f}",
    }
    lines = ["| | " + " | ".join(r["against"] for r in results) + " |", "|---|" + "--:|" * len(results)]
    lines += ["| " + " | ".join([name, *map(cell, results)]) + " |" for name, cell in rows.items()]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", default="ringlog,kafka", help="ringlog, kafka or both, separated by a comma")
    parser.add_argument("--records", type=int, default=100_000_000)
    parser.add_argument("--keys", type=int, default=5_000_000)
    parser.add_argument("--value-bytes", type=int, default=50)
    parser.add_argument("--segment-bytes", type=int, default=256 * MIB)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a broker's setting")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that brokers go
    results = []
    for against in options.against.split(","):
        results.append(measured(options, against))
        print(json.dumps(results[-1]), flush=True)
    about = {
        "command": sys.argv[1:],
        "cpus": os.cpu_count(),
        "load_average": os.getloadavg(),
        "ringlog": str(paths.ringlog_binary()),
    }
    print("\n" + json.dumps(about) + "\n\n" + table(results))
    if options.json:
        options.json.write_text(json.dumps({**about, "results": results}, indent=1))


if __name__ == "__main__":
    sys.exit(main())
