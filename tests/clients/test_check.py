"""The checker of histories finds each kind of anomaly in a small history that is made by hand, and nothing in good ones."""

import json
import subprocess
import sys
import time

import pytest

from harness import paths
from harness.check import checker as kinds
from harness.check.checker import EXAMPLES, Checker, check
from harness.check.history import FAIL, INFO, OK, Recorder, read
from harness.check.plant import PATIENCE, PLANTS
from harness.load import Loader, value_of
from harness.recorded import WINDOW, Recording, identify
from harness.wait import wait_until

P = "topic-0"


class Story:
    """A history, told in order; the time is the number of what is told."""

    def __init__(self):
        self.ops = []
        self.tell("client", client="p", kind="producer", ordered=True)
        self.tell("client", client="loose", kind="producer", ordered=False)

    def tell(self, op, **fields):
        self.ops.append({"op": op, "t": float(len(self.ops)), **fields})
        return self

    @property
    def now(self):
        return float(len(self.ops))

    def send(self, value, outcome=OK, offset=-1, client="p", partition=P, error=None):
        """Sent, and unless the outcome is None answered."""
        number = len(self.ops)
        self.tell("send", id=number, client=client, partition=partition, value=value)
        if outcome:
            self.sent(number, outcome, offset, error)
        return self

    def sent(self, number, outcome=OK, offset=-1, error=None):
        return self.tell("sent", id=number, outcome=outcome, offset=offset, error=error)

    def poll(self, *records, client="c", session=1, partition=P, at=None):
        at = records[0][0] if at is None else at
        return self.tell("poll", client=client, session=session, partition=partition, at=at, records=list(records))

    def fetch(self, *records, high_watermark=10, at=0, error=0, leading=True, epoch=3, session=1, client="f", broker=1):
        return self.tell(
            "fetch", client=client, session=session, partition=P, records=list(records), began=self.now - 1,
            broker=broker, epoch=epoch, leading=leading, at=at, error=error, high_watermark=high_watermark, log_start=0,
        )  # fmt: skip

    def log(self, *records, start=0, end=None, broker=1):
        end = start + len(records) if end is None else end
        return self.tell("log", broker=broker, partition=P, start=start, end=end, records=list(records))

    def end(self, offset, began):
        return self.tell("end", client="e", began=began, partition=P, offset=offset)

    def fault(self, on, severe=False, name="killed"):
        return self.tell("fault", name=name, nodes=[1], on=on, severe=severe)

    def error(self, began):
        return self.tell("error", client="c", began=began, error="gave up")

    def found(self) -> dict[str, int]:
        return dict(check(self.ops).kinds)


def three() -> Story:
    """a, b, c sent and acknowledged at 0, 1, 2."""
    return Story().send("a", OK, 0).send("b", OK, 1).send("c", OK, 2)


ALL = [(0, "a"), (1, "b"), (2, "c")]

GOOD = {
    "nothing": Story(),
    "read by all": three().poll(*ALL).poll(*ALL, client="d").fetch(*ALL).log(*ALL).log(*ALL, broker=2),
    "in pieces": (
        Story().send("a", OK, 0).poll(ALL[0]).log(ALL[0])
        .send("b", OK, 1).poll(ALL[1]).log(ALL[1], start=1).log(*ALL[:2])
    ),
    "read again in another session": three().poll(*ALL).poll(*ALL, session=2),
    "not read to the end": three().poll(*ALL[:2]),
    "read before it is acknowledged": Story().send("a", None).poll((0, "a")).sent(2, OK, 0).log((0, "a")),
    "unknown and not there": three().fault(True, severe=True).send("x", INFO).log(*ALL),
    "under way and there": three().send("x", None).log(*ALL, (3, "x")),
    "refused and not there": three().send("x", FAIL).poll(*ALL).log(*ALL),
    "acknowledged without an offset": Story().send("a", OK, -1).log((0, "a")),
    "a producer without idempotence repeats": Story().send("a", OK, 1, client="loose").log((0, "a"), (1, "a")),
    "a producer without idempotence, in another order": (
        Story().send("a", OK, 1, client="loose").send("b", OK, 0, client="loose").log((0, "b"), (1, "a"))
    ),
    "two partitions": (
        Story().send("a", OK, 0).poll((0, "a")).send("b", OK, 0, partition="t-1").poll((0, "b"), partition="t-1")
    ),
    "high watermark rises": Story().fetch(high_watermark=1).fetch(high_watermark=3),
    "high watermark of another epoch": Story().fetch(high_watermark=3).fetch(high_watermark=2, epoch=4),
    "an end that is up to date": three().end(3, began=8.5),
    "an end asked for before": three().end(2, began=6.5),
    "out of range at a follower": three().poll(*ALL).fetch(at=3, error=1, leading=False),
    "out of range beyond all that was read": three().poll(*ALL).fetch(at=9, error=1),
}  # fmt: skip


@pytest.mark.parametrize("story", GOOD)
def test_nothing_is_found_in_a_good_history(story):
    expected = {kinds.CLIENT_ERROR_IN_SEVERE_FAULT} if story == "unknown and not there" else set()
    assert GOOD[story].found().keys() == expected, str(check(GOOD[story].ops))


# What is told, and the kinds that must be found, all of them and no other.
BAD = {
    "lost at the end": (three().log(*ALL[:2]), {kinds.LOST, kinds.END_BACK}),
    "lost, and another in its place": (
        three().send("x", OK, 3).log((0, "a"), (1, "x"), (2, "c"), end=3),
        {kinds.LOST, kinds.INCONSISTENT, kinds.MISPLACED, kinds.END_BACK, kinds.REORDERED},
    ),
    "lost in the middle": (three().log(ALL[0], ALL[2], end=3), {kinds.LOST, kinds.UNSEEN, kinds.SKIPPED}),
    "lost on one replica": (three().log(*ALL).log(*ALL[:2], broker=2), {kinds.LOST, kinds.END_BACK, kinds.VANISHED}),
    "lost, acknowledged without an offset": (three().send("x", OK, -1).log(*ALL), {kinds.LOST}),
    "lost from the part that is read": (three().log(*ALL[:1]).log(start=1), {kinds.LOST, kinds.END_BACK}),
    "unseen": (three().poll(ALL[0]).poll(ALL[2], session=2), {kinds.UNSEEN}),
    "left out by one reader": (three().poll(*ALL).poll(ALL[0], ALL[2], client="d"), {kinds.SKIPPED}),
    "left out by one reader at its begin": (three().poll(*ALL).poll(*ALL[1:], client="d", at=0), {kinds.SKIPPED}),
    "begin of a log left out": (three().poll(*ALL).log(*ALL[1:], start=0, end=3), {kinds.SKIPPED, kinds.LOST}),
    "twice": (three().poll(*ALL, (3, "b")), {kinds.DUPLICATE}),
    "twice, of an unknown outcome": (
        three().fault(True, severe=True).send("x", INFO).log(*ALL, (3, "x"), (4, "x")),
        {kinds.DUPLICATE, kinds.CLIENT_ERROR_IN_SEVERE_FAULT},
    ),
    "elsewhere than acknowledged": (Story().send("a", OK, 5).poll((4, "a")), {kinds.MISPLACED}),
    "elsewhere than read": (Story().send("a", None).poll((4, "a")).sent(2, OK, 5), {kinds.MISPLACED}),
    "two values read at an offset": (
        three().send("x", None).poll(*ALL).poll((0, "a"), (1, "x"), client="d"), {kinds.INCONSISTENT, kinds.REORDERED}
    ),
    "two values read at an offset, leader and follower": (
        Story().send("a", None).send("x", None).fetch((0, "a")).fetch((0, "x"), leading=False, broker=2, client="g"),
        {kinds.INCONSISTENT, kinds.REORDERED},
    ),
    "two values acknowledged at an offset": (
        Story().send("a", OK, 0).send("b", OK, 0), {kinds.INCONSISTENT, kinds.REORDERED}
    ),
    "another value read than acknowledged": (
        Story().send("a", OK, 0, client="loose").send("x", None, client="loose").poll((0, "x")), {kinds.INCONSISTENT}
    ),
    "another value acknowledged than read": (
        Story().send("x", None).poll((0, "x")).send("a", OK, 0, client="loose"), {kinds.INCONSISTENT}
    ),
    "acknowledged in another order": (Story().send("a", OK, 1).send("b", OK, 0), {kinds.REORDERED}),
    "stored in another order": (
        Story().send("a", None).send("b", None).poll((0, "b"), (1, "a")), {kinds.REORDERED}
    ),
    "a reader goes back": (three().poll(*ALL).poll(ALL[1]), {kinds.WENT_BACK}),
    "a reader gets one twice": (three().poll(ALL[0], ALL[0]), {kinds.WENT_BACK}),
    "a raw reader goes back": (three().fetch(*ALL).fetch(ALL[1]), {kinds.WENT_BACK}),
    "never sent": (three().poll(*ALL, (3, "x")), {kinds.PHANTOM}),
    "sent to another partition": (Story().send("a", OK, 0, partition="t-1").poll((0, "a")), {kinds.PHANTOM}),
    "refused and there": (Story().send("a", FAIL).poll((0, "a")), {kinds.FAILED_YET_STORED}),
    "refused when it had been read": (
        Story().send("a", None).poll((0, "a")).sent(2, FAIL), {kinds.FAILED_YET_STORED}
    ),
    "read, then gone": (three().send("x", None).poll(*ALL, (3, "x")).log(*ALL), {kinds.VANISHED}),
    "read, then another": (
        three().send("x", None).send("y", None).poll(*ALL, (3, "x")).log(*ALL, (3, "y")),
        {kinds.INCONSISTENT, kinds.REORDERED},
    ),
    "given out above the high watermark": (
        three().fetch(*ALL, high_watermark=2, leading=False), {kinds.ABOVE_HIGH_WATERMARK}
    ),
    "high watermark back": (
        three().fetch(high_watermark=9).fetch(high_watermark=8), {kinds.HIGH_WATERMARK_BACK}
    ),
    "high watermark back at a follower": (
        three().fetch(high_watermark=9, leading=False).fetch(high_watermark=8, leading=False),
        {kinds.FOLLOWER_HIGH_WATERMARK_BACK},
    ),
    "leader ends below what was read": (three().poll(*ALL).fetch(at=3, error=1), {kinds.END_BACK}),
    "an end below what was acknowledged": (three().end(2, began=8.5), {kinds.STALE_END}),
    "a leader's high watermark below what was acknowledged": (
        three().tell("client", client="f", kind="reader").fetch(high_watermark=2), {kinds.STALE_HIGH_WATERMARK}
    ),
    "a client gives up": (three().fault(True).error(began=9), {kinds.CLIENT_ERROR}),
    "a send is given up": (three().fault(True).send("x", INFO), {kinds.CLIENT_ERROR}),
    "a client gives up long after a severe fault": (
        three().fault(True, severe=True).fault(False, severe=True).error(began=99), {kinds.CLIENT_ERROR}
    ),
    "a client gives up in a severe fault": (
        three().fault(True, severe=True).error(began=9), {kinds.CLIENT_ERROR_IN_SEVERE_FAULT}
    ),
    "a client gives up at once after a severe fault": (
        three().fault(True, severe=True).fault(False, severe=True).error(began=9), {kinds.CLIENT_ERROR_IN_SEVERE_FAULT}
    ),
}  # fmt: skip


@pytest.mark.parametrize("story", BAD)
def test_what_cannot_be_is_found(story):
    told, expected = BAD[story]
    assert told.found().keys() == expected, str(check(told.ops))


def test_every_kind_is_found_in_some_history():
    named = {value for name, value in vars(kinds).items() if name.isupper() and isinstance(value, str)}
    assert named - {OK, FAIL, INFO} == set().union(*(expected for _, expected in BAD.values()))


def test_asking_twice_counts_once_and_examples_are_few():
    story = Story()
    for n in range(3 * EXAMPLES):
        story.poll((n, f"never sent {n}"))
    checker = Checker()
    for op in story.ops:
        checker.add(op)
        checker.anomalies()
    found = checker.anomalies()
    assert found.kinds == {kinds.PHANTOM: 3 * EXAMPLES} and len(found.examples) == EXAMPLES


def test_an_anomaly_tells_the_faults_in_force():
    story = three().fault(True, name="one").fault(True, name="two").fault(False, name="one").poll((0, "x"))
    assert {a.faults for a in check(story.ops).examples} == {("two",)}


def long_story() -> Story:
    """Two readers and two replicas get all of it, in pieces."""
    story, count = Story(), 3 * PATIENCE
    for n in range(count):
        story.send(f"v{n}", OK, n)
    records = [(n, f"v{n}") for n in range(count)]
    for at in range(0, count, 50):
        for client in "cd":
            story.poll(*records[at : at + 50], client=client)
    return story.log(*records).log(*records, broker=2)


@pytest.mark.parametrize("kind", PLANTS)
def test_what_is_planted_is_found(kind):
    story = long_story()
    assert not story.found()
    plant = PLANTS[kind]()
    found = check(plant(op) for op in story.ops)
    assert found.errors, kind


def test_a_written_history_is_checked_again(tmp_path):
    """Of a recorder: what it writes is what its listener got; the command finds the same."""
    heard = []
    with Recorder(tmp_path / "history.jsonl", heard.append) as recorder:
        recorder.write("client", client="p", kind="producer", ordered=True)
        for n in range(3):
            recorder.sent(recorder.send("p", P, f"v{n}"), OK, n)
        recorder.write("poll", client="c", session=1, partition=P, at=0, records=[[n, f"v{n}"] for n in range(3)])
    assert list(read(recorder.path)) == heard and recorder.counts == {"client": 1, "send": 3, "sent": 3, "poll": 1}

    def run(path):
        command = [sys.executable, "-m", "harness.check", str(path)]
        done = subprocess.run(command, cwd=paths.SUITE, capture_output=True, text=True, timeout=60)
        return done.returncode, json.loads(done.stdout.splitlines()[-1])["errors"]

    assert run(recorder.path) == (0, {})
    records = heard[-1]["records"][:2]
    lost = {"op": "log", "t": 9e9, "broker": 1, "partition": P, "start": 0, "end": 2, "records": records}
    with open(recorder.path, "a") as file:
        file.write(json.dumps(lost) + "\n" + '{"op":"poll","t":9e9,"cli')  # the end of a run that was killed
    assert run(recorder.path) == (1, {kinds.LOST: 1, kinds.END_BACK: 1, kinds.VANISHED: 1})


class FakeLibrary(Recording, Loader):
    """Takes records, and answers as the test says."""

    waited = 0

    def _open(self):
        self.taken = []

    def _send(self, partition, sequence, value):
        if partition == 1 and sequence == 3:
            raise RuntimeError("fatal")
        self.taken.append((partition, sequence, identify(value)))

    def _wait(self):
        self.waited += 1
        time.sleep(0.001)

    def _drop(self):
        pass

    _close = _drop


def test_a_recording_producer_writes_down_what_its_library_does(tmp_path):
    """Also while one partition stands still, and when the library gives up a record, and itself."""
    heard = []
    with Recorder(tmp_path / "history.jsonl", heard.append) as recorder:
        writer = FakeLibrary("w", "topic", 2, per_second=1e6, recorder=recorder, held=True).start()
        writer.held = False
        wait_until(lambda: not writer.alive(), "the producer to end")
        assert writer.sent[1] == 4 and 0 < writer.sent[0] <= WINDOW and "fatal" in str(writer.failures)
        writer._done(0, 0, 5)
        writer._done(0, 1, None)
        writer._done(0, 2, -1, TimeoutError("gave up"))
    story = [op for op in heard if op["op"] == "sent"]
    assert [(op["outcome"], op["offset"]) for op in story] == [(INFO, -1), (OK, 5), (OK, -1), (INFO, -1)]
    sends = {op["id"]: op["value"] for op in heard if op["op"] == "send"}
    assert [sends[op["id"]] for op in story] == ["w:1:3", "w:0:0", "w:0:1", "w:0:2"]
    assert writer.taken and all(value == f"w:{p}:{n}" for p, n, value in writer.taken)
    assert check(heard).kinds == {kinds.CLIENT_ERROR: 2}
    assert not writer.stuck() and writer.oldest() is not None
    writer.outcome_s = 0.0
    assert writer.stuck(), "records without an outcome"
    assert writer.in_flight == len(sends) - 4 and [len(times) for times in writer.ack_times] == [2, 0]


def test_a_producer_that_is_held_sends_nothing(tmp_path):
    with Recorder(tmp_path / "history.jsonl") as recorder:
        writer = FakeLibrary("w", "topic", 1, per_second=1e6, recorder=recorder, held=True).start()
        wait_until(lambda: writer.waited > 3, "the producer to have gone round")
        assert not writer.taken
        writer.held = False
        wait_until(lambda: len(writer.taken) == WINDOW, "a full window")
        writer.abandon()
    assert recorder.counts == {"client": 1, "send": WINDOW}


def test_altered_values_are_no_values_of_the_load():
    value = value_of("w", 1, 5)
    assert identify(value) == "w:1:5"
    assert all(identify(one).startswith("altered") for one in (value + b"x", value[1:], b"", None, b"w:1:x:", b"w:1:5:"))
