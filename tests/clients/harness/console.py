"""Asking a broker's console: its API with plain HTTP, and what a cluster is given to show."""

import http.client
import json
import re
import urllib.parse
from dataclasses import dataclass

from .broker import Broker
from .clients import ALL_CODECS, CONFLUENT
from .groups import commit
from .records import T0, Record
from .wait import PATIENCE_S

# What would run as a script if any of it were taken for markup.
HOSTILE = "<img src=x onerror=\"window.hacked=1\"><script>window.hacked=1</script>"
HOSTILE_GROUP = f"{HOSTILE} & größe/..%41?#'"
CODECS, HOSTILES, EMPTY = "codecs", "hostile.records", "empty_topic"
PER_PARTITION = 130


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self):
        assert self.headers["content-type"] == "application/json", self
        return json.loads(self.body)


def request(address: tuple[str, int], target: str, method="GET", headers=None) -> Answer:
    """`target` goes out as it is: no client tidies it up."""
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE_S)
    try:
        connection.putrequest(method, target, skip_host="Host" in (headers or {}))
        for name, value in (headers or {}).items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def ask(address: tuple[str, int], *path: str, **parameters):
    """JSON of a path under /api/v1, which must be there."""
    target = "/api/v1/" + "/".join(urllib.parse.quote(part, safe="") for part in path)
    if parameters:
        target += "?" + urllib.parse.urlencode(parameters)
    answer = request(address, target)
    assert answer.status == 200, f"{target}: {answer}"
    return answer.json()


def http_address(broker: Broker) -> tuple[str, int]:
    """Of a broker that was given port 0."""
    [(host, port)] = re.findall(r"http listener bound addr=([\d.]+):(\d+)", broker.log_text())
    return host, int(port)


def text(blob) -> bytes | None:
    """The bytes that an answer shows."""
    import base64

    if blob is None:
        return None
    assert not blob["truncated"], blob
    found = base64.b64decode(blob["data"]) if blob["encoding"] == "base64" else blob["data"].encode()
    assert len(found) == blob["bytes"]
    return found


def record(partition: int, i: int) -> Record:
    """Of every shape: JSON, text, binary, null and empty."""
    values = [
        json.dumps({"n": i, "big": 12345678901234567890, "list": [1, {"a": "b, {c}"}], "none": []}).encode(),
        f"line {i} of partition {partition}: größe".encode(),
        bytes([0, 255, i % 256]) * 8,
        None,
        b"",
    ]
    key = None if i % 4 == 0 else b"key-%d" % i
    headers = (("trace", b"%032d" % i), ("raw", b"\xff\x00"), ("none", None)) if i % 3 == 0 else ()
    return Record(value=values[i % 5], key=key, headers=headers, timestamp=T0 + 1000 * i, partition=partition)


def sent() -> list[Record]:
    return [record(p, i) for p in range(len(ALL_CODECS)) for i in range(PER_PARTITION)]


def give(cluster):
    """Topics whose leaders are spread, records of all codecs (one for each partition), hostile ones, and groups."""
    ids = sorted(cluster.nodes)
    replicas = [[ids[(p + k) % 3] for k in range(3)] for p in range(len(ALL_CODECS))]
    cluster.create_topic(CODECS, dict(enumerate(replicas)), {"retention.ms": "604800000"})
    cluster.create_topic(HOSTILES, {0: [2, 3, 1]})
    cluster.create_topic(EMPTY, {0: [3, 1]})
    cluster.settle()
    for partition, codec in enumerate(ALL_CODECS):
        records = [record(partition, i) for i in range(PER_PARTITION)]
        CONFLUENT.produce(cluster.bootstrap, CODECS, records, compression=codec)
    evil = HOSTILE.encode()
    CONFLUENT.produce(cluster.bootstrap, HOSTILES, [
        Record(value=evil, key=evil, headers=(("<b>h</b>", evil),)),
        Record(value=b'{"a": "</script><script>window.hacked=1</script>"}', key=b"\xe2\x80\xae turned \x00\x1b[31m"),
        Record(value=b"javascript:window.hacked=1", key=b"'\"><svg onload=window.hacked=1>"),
    ])  # fmt: skip
    commit(cluster.bootstrap, "behind", CODECS, {p: 10 * p for p in range(len(ALL_CODECS))})
    commit(cluster.bootstrap, HOSTILE_GROUP, HOSTILES, {0: 1})
    commit(cluster.bootstrap, "..", CODECS, {0: 1})
