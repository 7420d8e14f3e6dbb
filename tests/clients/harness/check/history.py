"""A history: operations of many clients, one JSON object a line, in the order in which they were written down.

Contract, on which the checker relies:
- a send is written down before its client is told of it, so that a value cannot be read before it was sent;
- an answer is written down before its client goes on, so that what a client does next comes later in the file;
- times are seconds of one monotonic clock; `began` is before a request was sent, `t` after its answer was there.

Operations, by `op`:

| op | fields besides `t` | |
|---|---|---|
| `client` | client, kind, ordered | `ordered`: an idempotent producer, whose order of sending is the log's |
| `send` | id, client, partition, value | values are unique in the whole history |
| `sent` | id, outcome, offset, error | `ok` (offset -1: the client was not told), `fail` (certainly not stored), `info` (unknown) |
| `poll` | client, session, partition, at, records | what a client library gave its user, who wanted offset `at` next: [offset, value] in that order |
| `fetch` | + began, broker, epoch, leading, error, high_watermark, log_start | one raw Fetch at offset `at` of one broker's replica, which had that leader epoch |
| `end` | client, began, partition, offset | ListOffsets, latest |
| `log` | broker, partition, start, end, records | all that a replica holds in [start, end), its end, while nothing is under way |
| `error` | client, began, error | what a client library told its user instead of trying again |
| `fault` | name, nodes, on, severe | begins or ends; `severe`: it took more than one broker |

A session is what a reader does without having been told to go elsewhere. `partition` is topic-number.
"""

import json
import threading
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Iterator

OK, FAIL, INFO = "ok", "fail", "info"
Op = dict


class Recorder:
    """Writes a history, from any thread. `listener` gets each operation too, one at a time, as it is written."""

    def __init__(self, path: Path, listener: Callable[[Op], None] = lambda op: None, plant=lambda op: op):
        self.path, self._listener, self._plant = path, listener, plant
        self._file = open(path, "w", buffering=1 << 16)
        self._lock = threading.Lock()
        self._sends = 0
        self.counts: Counter = Counter()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with self._lock:
            self._file.close()

    @contextmanager
    def still(self):
        """Nothing is added meanwhile, so that what the listener has made of it can be looked at."""
        with self._lock:
            if not self._file.closed:
                self._file.flush()
            yield

    def now(self) -> float:
        return time.monotonic()

    def write(self, op: str, **fields):
        with self._lock:
            self._write(op, fields)

    def _write(self, op: str, fields: Op):
        if self._file.closed:  # a client's last word, after the end
            return
        line = self._plant({"op": op, "t": round(time.monotonic(), 4), **fields})
        self._file.write(json.dumps(line, separators=(",", ":")) + "\n")
        self.counts[op] += 1
        self._listener(line)

    def send(self, client: str, partition: str, value: str) -> int:
        """Before the client library gets the record; returns the id that `sent` wants."""
        with self._lock:
            self._sends += 1
            self._write("send", {"id": self._sends, "client": client, "partition": partition, "value": value})
            return self._sends

    def sent(self, send_id: int, outcome: str, offset: int = -1, error: str | None = None):
        fields = {"id": send_id, "outcome": outcome, "offset": offset}
        self.write("sent", **fields, **({"error": error} if error else {}))


def read(path: Path) -> Iterator[Op]:
    """The operations of a file. A last line that was not written to its end is left out."""
    with open(path) as lines:
        for line in lines:
            if line.endswith("\n"):
                yield json.loads(line)
