"""franz-go, through the program in ../../franz."""

import base64
import json
import subprocess

from .. import paths
from ..records import Read
from ..wait import PATIENCE_S
from .base import Client, ProcessMember


class FranzFailed(Exception):
    """The program ended with an error."""


def run(command, bootstrap, *args, stdin: str = "", timeout_s=2 * PATIENCE_S) -> str:
    done = subprocess.run(
        [str(paths.FRANZ), command, "-brokers", bootstrap, *args],
        input=stdin.encode(), capture_output=True, timeout=timeout_s,
    )  # fmt: skip
    if done.returncode != 0:
        raise FranzFailed(done.stderr.decode(errors="replace"))
    return done.stdout.decode()


def _b64(b):
    return None if b is None else base64.b64encode(b).decode()


def _raw(text):
    return None if text is None else base64.b64decode(text)


def parse(line: str) -> Read:
    r = json.loads(line)
    headers = tuple((_raw(k).decode(), _raw(v)) for k, v in r["h"])
    return Read(_raw(r["v"]), _raw(r["k"]), headers, r["t"], r["p"], r["o"], r["tt"])


class Franz(Client):
    name = "franz-go"

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        lines = (
            json.dumps({
                "p": r.partition, "k": _b64(r.key), "v": _b64(r.value), "t": r.timestamp,
                "h": [[_b64(k.encode()), _b64(v)] for k, v in r.headers],
            })
            for r in records
        )  # fmt: skip
        out = run(
            "produce", bootstrap, "-topic", topic, "-compression", compression,
            "-acks", "leader" if acks == "1" else "all", f"-idempotent={str(idempotent).lower()}",
            "-batch-bytes", str(batch_bytes),
            stdin="\n".join(lines),
        )  # fmt: skip
        return [json.loads(line)["o"] for line in out.splitlines()]

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        out = run("consume", bootstrap, "-topic", topic, "-count", str(count), "-timeout", f"{timeout_s:.0f}s")
        return list(map(parse, out.splitlines()))

    def member(self, bootstrap, topic, group):
        command = [str(paths.FRANZ), "group", "-brokers", bootstrap, "-topic", topic, "-group", group]
        pipe = subprocess.PIPE
        return _Member(subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL))


class _Member(ProcessMember):
    def _records(self):
        yield from map(parse, (line.decode() for line in self.process.stdout))

    def _ask_to_end(self):
        self.process.stdin.close()
