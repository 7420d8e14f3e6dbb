"""Kafka's own console producer and consumer (Java), from the jars that run.sh fetched."""

import subprocess

from ..broker import java
from ..records import CREATE_TIME, LOG_APPEND_TIME, Read, Sees
from ..wait import PATIENCE_S
from .base import Client, ProcessMember

TOOLS = "org.apache.kafka.tools."
# What separates fields, messages and headers in the consoles' text: nothing that a generated record contains.
FIELD, END, HEADER, NULL = "~#f91c#~", "~#e5d2#~", "~#h7a0#~", "~#null#~"
PRODUCER_READER = {
    "parse.key": "true", "parse.headers": "true", "key.separator": FIELD, "headers.delimiter": FIELD,
    "headers.separator": HEADER, "headers.key.separator": ":", "null.marker": NULL,
}  # fmt: skip
CONSUMER_FORMAT = {
    "print.timestamp": "true", "print.partition": "true", "print.offset": "true", "print.headers": "true",
    "print.key": "true", "print.value": "true", "key.separator": FIELD, "line.separator": END,
    "headers.separator": HEADER, "null.literal": NULL,
}  # fmt: skip


class ToolFailed(Exception):
    """A Java tool ended with an error status; the text is what it printed."""


def tool(name, *args, stdin: bytes = b"", timeout_s=2 * PATIENCE_S) -> subprocess.CompletedProcess:
    """Runs one of Kafka's tools to its end."""
    main_class = name if name.startswith("kafka.") else TOOLS + name
    done = subprocess.run(java(main_class, *args), input=stdin, capture_output=True, timeout=timeout_s)
    if done.returncode != 0:
        raise ToolFailed((done.stdout + done.stderr).decode(errors="replace"))
    return done


def _properties(flag, properties):
    return [word for key, value in properties.items() for word in (flag, f"{key}={value}")]


def _or_null(text: bytes):
    return None if text == NULL.encode() else text


def parse(message: bytes) -> Read:
    """One message as the console consumer printed it, without its end."""
    kind, partition, offset, headers, key, value = message.split(FIELD.encode(), 5)
    kind, timestamp = kind.split(b":")
    parsed = []
    if headers != b"NO_HEADERS":
        for header in headers.split(HEADER.encode()):
            name, content = header.split(b":", 1)
            parsed.append((name.decode(), _or_null(content)))
    return Read(
        _or_null(value), _or_null(key), tuple(parsed), int(timestamp), int(partition.removeprefix(b"Partition:")),
        int(offset.removeprefix(b"Offset:")), {b"CreateTime": CREATE_TIME, b"LogAppendTime": LOG_APPEND_TIME}[kind],
    )  # fmt: skip


class JavaConsole(Client):
    name = "java-console"
    # The console producer reads lines of text, and chooses partitions by key.
    sets = Sees(partition=False, offset=False, timestamp=False, binary=False, headers=1)
    sees = Sees()

    def produce(self, bootstrap, topic, records, compression="none", acks="all", idempotent=True, batch_bytes=1 << 20):
        lines = []
        for r in records:
            text = [
                HEADER.encode().join(k.encode() + b":" + (NULL.encode() if v is None else v) for k, v in r.headers)
                or NULL.encode(),
                NULL.encode() if r.key is None else r.key,
                NULL.encode() if r.value is None else r.value,
            ]
            lines.append(FIELD.encode().join(text) + b"\n")
        command = {
            "acks": acks, "enable.idempotence": str(idempotent and acks == "all").lower(), "linger.ms": "20",
            "batch.size": str(batch_bytes), "max.request.size": str(64 << 20),
        }  # fmt: skip
        done = tool(
            "ConsoleProducer", "--bootstrap-server", bootstrap, "--topic", topic, "--compression-codec", compression,
            *_properties("--reader-property", PRODUCER_READER), *_properties("--command-property", command),
            stdin=b"".join(lines),
        )  # fmt: skip
        # It exits with 0 even when records were refused; the log line is all there is.
        assert b"Error when sending message" not in done.stdout + done.stderr, done.stderr.decode(errors="replace")
        return None

    def consume(self, bootstrap, topic, count, timeout_s=PATIENCE_S):
        done = tool(
            "consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning",
            "--max-messages", str(count), "--timeout-ms", str(int(timeout_s * 1000)),
            "--command-property", "max.partition.fetch.bytes=8388608",
            *_properties("--formatter-property", CONSUMER_FORMAT),
        )  # fmt: skip
        messages = done.stdout.split(END.encode())
        assert messages.pop() == b"", "output after the last message"
        return list(map(parse, messages))

    def member(self, bootstrap, topic, group):
        settings = {
            "auto.commit.interval.ms": "1000", "heartbeat.interval.ms": "500", "session.timeout.ms": "10000",
        }  # fmt: skip
        command = java(
            TOOLS + "consumer.ConsoleConsumer", "--bootstrap-server", bootstrap, "--topic", topic, "--group", group,
            "--from-beginning", *_properties("--command-property", settings),
            *_properties("--formatter-property", CONSUMER_FORMAT),
        )  # fmt: skip
        return _Member(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))


class _Member(ProcessMember):
    def _records(self):
        buffered = b""
        while chunk := self.process.stdout.read1(1 << 16):
            *whole, buffered = (buffered + chunk).split(END.encode())
            yield from map(parse, whole)
