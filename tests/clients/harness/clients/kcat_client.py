"""kcat (librdkafka, on the command line)."""

import subprocess

from ..records import NO_HEADERS, TEXT_HEADERS, Read, Sees, by_partition
from ..wait import PATIENCE_S
from .base import Client, ProcessMember

# Delimiters that no generated key or value contains (checked on sending).
MESSAGE_END, KEY_END = b"~#8b1f6e0d9c#~", b"~#2a74c3f5e1#~"
FORMAT = r"%p %o %T %K %S \x1f%k%s%h" + MESSAGE_END.decode()


def run(bootstrap, *args, stdin: bytes = b"", timeout_s=PATIENCE_S) -> bytes:
    """kcat's standard output; raises with what it said when it fails."""
    done = subprocess.run(["kcat", "-q", "-b", bootstrap, *args], input=stdin, capture_output=True, timeout=timeout_s)
    if done.returncode != 0:
        raise RuntimeError(f"kcat {' '.join(args)} ended with {done.returncode}: {done.stderr.decode()}")
    return done.stdout


def parse(message: bytes) -> Read:
    """One message as FORMAT printed it, without its end."""
    numbers, rest = message.split(b"\x1f", 1)
    partition, offset, timestamp, key_size, value_size = map(int, numbers.split())
    key, rest = (None, rest) if key_size < 0 else (rest[:key_size], rest[key_size:])
    value, rest = (None, rest) if value_size < 0 else (rest[:value_size], rest[value_size:])
    headers = []
    for header in rest.decode().split(",") if rest else []:
        name, content = header.split("=", 1)
        headers.append((name, None if content == "NULL" else content.encode()))
    return Read(value, key, tuple(headers), timestamp, partition, offset)


class Kcat(Client):
    name = "kcat"
    # -H sets the same headers on every record of a run; timestamps cannot be set; -Z makes empty null.
    sets = Sees(headers=NO_HEADERS, timestamp=False, empty=False)
    sees = Sees(headers=TEXT_HEADERS)

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        for partition, mine in by_partition(records).items():
            stream = []
            for r in mine:
                key, value = r.key or b"", r.value or b""
                for delimiter in (MESSAGE_END, KEY_END):
                    assert delimiter not in key + value
                stream.append(key + KEY_END + value)
            run(
                bootstrap, "-P", "-t", topic, "-p", str(partition), "-z", compression, "-Z",
                "-D", MESSAGE_END.decode(), "-K", KEY_END.decode(),
                "-X", f"acks={acks}", "-X", f"enable.idempotence={str(idempotent and acks == 'all').lower()}",
                "-X", "linger.ms=20", "-X", f"batch.size={batch_bytes}", "-X", "message.max.bytes=67108864",
                stdin=MESSAGE_END.join(stream),
            )  # fmt: skip
        return None

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        out = run(
            bootstrap, "-C", "-t", topic, "-o", "beginning", "-c", str(count), "-e", "-f", FORMAT,
            "-X", "fetch.message.max.bytes=8388608", timeout_s=timeout_s,
        )  # fmt: skip
        messages = out.split(MESSAGE_END)
        assert messages.pop() == b"", "output after the last message"
        return list(map(parse, messages))

    def member(self, bootstrap, topic, group):
        command = ["kcat", "-q", "-u", "-b", bootstrap, "-f", FORMAT]
        for setting in (
            "auto.offset.reset=earliest", "auto.commit.interval.ms=1000", "heartbeat.interval.ms=500",
            "session.timeout.ms=10000",
        ):  # fmt: skip
            command += ["-X", setting]
        return _Member(
            subprocess.Popen([*command, "-G", group, topic], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        )


class _Member(ProcessMember):
    def _records(self):
        buffered = b""
        while chunk := self.process.stdout.read1(1 << 16):
            *whole, buffered = (buffered + chunk).split(MESSAGE_END)
            yield from map(parse, whole)
