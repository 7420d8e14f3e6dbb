"""What every client under test offers to the tests."""

import threading

from ..records import Read, Record, Sees
from ..wait import PATIENCE_S

ALL_CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


class Member:
    """One consumer of a group, reading in the background from the earliest offset and committing as it goes."""

    def __init__(self):
        self._lock = threading.Lock()
        self._reads: list[Read] = []
        self._failure: BaseException | None = None

    def _add(self, reads):
        with self._lock:
            self._reads.extend(reads)

    def _failed(self, failure):
        self._failure = failure

    def reads(self) -> list[Read]:
        """Everything read so far."""
        if self._failure is not None:
            raise AssertionError(f"{type(self).__name__} failed: {self._failure!r}") from self._failure
        with self._lock:
            return list(self._reads)

    def count(self) -> int:
        """How many that are, repeated ones too."""
        if self._failure is not None:
            self.reads()
        return len(self._reads)

    def close(self):
        """Commits, leaves the group in an orderly way, ends; raises what went wrong on the way."""
        raise NotImplementedError

    def end(self):
        """For clean-up: ends it somehow, also after `close`; says nothing."""
        raise NotImplementedError


class ThreadMember(Member):
    """A member whose client library is driven from a thread of ours."""

    def __init__(self):
        super().__init__()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _start(self):
        self._thread.start()
        return self

    def _run(self):
        try:
            self._loop()
        except BaseException as failure:  # shown by reads() in the test's own thread
            self._failed(failure)

    def _loop(self):
        raise NotImplementedError

    def close(self):
        self._stop.set()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), f"{type(self).__name__} did not close"
        self.reads()

    def end(self):
        self._stop.set()
        self._thread.join(PATIENCE_S)


class ProcessMember(Member):
    """A member that is a process printing what it reads, on lines that `_parse` understands."""

    def __init__(self, process):
        super().__init__()
        self.process = process
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _records(self):
        """Yields the reads of the process's output as they come."""
        raise NotImplementedError

    def _ask_to_end(self):
        self.process.terminate()

    def _drain(self):
        try:
            for read in self._records():
                self._add([read])
        except BaseException as failure:
            self._failed(failure)

    def close(self):
        self._ask_to_end()
        try:
            self.process.wait(PATIENCE_S)
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
        self._thread.join(PATIENCE_S)
        self.reads()

    def end(self):
        self.process.kill()
        self.process.wait()


class Client:
    """A Kafka client. `sets` is what its producer can set, `sees` what its consumer can tell."""

    name: str
    sets = Sees()
    sees = Sees()
    compressions = ALL_CODECS

    def produce(
        self,
        bootstrap: str,
        topic: str,
        records: list[Record],
        compression: str = "none",
        acks: str = "all",
        idempotent: bool = True,
        batch_bytes: int = 1 << 20,
    ) -> list[int] | None:
        """Sends the records in order and waits for all acknowledgements; their offsets where the client tells.

        `acks` is "all" or "1"; the latter implies no idempotence.
        """
        raise NotImplementedError

    def consume(self, bootstrap: str, topic: str, count: int, timeout_s: float = PATIENCE_S) -> list[Read]:
        """The first `count` records of all of the topic's partitions, from the beginning."""
        raise NotImplementedError

    def member(self, bootstrap: str, topic: str, group: str) -> Member:
        """Starts a consumer of the group."""
        raise NotImplementedError

    def __repr__(self):
        return self.name
