"""The checker of what members of groups tell finds each kind of anomaly in a history made by hand, and nothing in good ones."""

import sys
from types import SimpleNamespace

import pytest

from harness.sharing.checker import check
from harness.sharing.group import unrest
from harness.sharing.members import History, Host, Member
from harness.sharing.schedule import ORDERLY, ROUGH, schedule
from harness.wait import wait_until

T, P = "t", 0
PLACE = (T, P)


class Story:
    """Events in order; the time is the number of what is told."""

    def __init__(self):
        self.events = []

    def tell(self, member, what, **fields):
        self.events.append({"m": member, "e": what, "t": float(len(self.events)), **fields})
        return self

    def gets(self, m):
        return self.tell(m, "assigned", partitions=[[T, P]])

    def gives(self, m, what="revoked"):
        return self.tell(m, what, partitions=[[T, P]])

    def reads(self, m, first, last):
        return self.tell(m, "read", runs=[[T, P, first, last]])

    def commits(self, m, offset):
        return self.tell(m, "committed", offsets=[[T, P, offset]], began=float(len(self.events)) - 0.5)

    def found(self, end, committed=None) -> dict[str, int]:
        return dict(check(self.events, {PLACE: end}, None if committed is None else {PLACE: committed}).kinds)


def handed_over() -> Story:
    """a has 0 to 4 and commits, b goes on."""
    return Story().gets("a").reads("a", 0, 4).commits("a", 5).gives("a").gets("b")


GOOD = {
    "handed over": (handed_over().reads("b", 5, 9).commits("b", 10).tell("b", "closing"), 10, 10),
    "nothing to read": (Story().gets("a").tell("a", "closing"), 0, None),
    "given a share while it leaves": (
        handed_over().tell("a", "closing").gets("a").tell("a", "closed").gives("b").gets("c").reads("c", 5, 9), 10, None,
    ),
    "killed with work in hand": (
        Story().gets("a").reads("a", 0, 4).tell("a", "crashed").gets("b").reads("b", 0, 4).commits("b", 5), 5, 5,
    ),
    "paused with work in hand": (
        Story().gets("a").reads("a", 0, 4).tell("a", "paused").gets("b").reads("b", 0, 4).commits("b", 5)
        .tell("a", "resumed").reads("a", 5, 6).gives("a", "lost").reads("b", 5, 9).commits("b", 10), 10, 10,
    ),
    "paused and kept": (
        Story().gets("a").reads("a", 0, 4).tell("a", "paused").tell("a", "resumed").reads("a", 5, 9).commits("a", 10), 10, 10,
    ),
    "taken away and given back": (
        Story().gets("a").reads("a", 0, 4).commits("a", 5).gives("a").gets("a").reads("a", 5, 9), 10, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_good_histories(name):
    story, end, committed = GOOD[name]
    assert story.found(end, committed) == {}


BAD = {
    "lost at the end": (handed_over().reads("b", 5, 7), 10, None, {"lost": 2}),
    "lost in between": (handed_over().reads("b", 7, 9), 10, None, {"lost": 2}),
    "passed over": (Story().gets("a").reads("a", 0, 2).reads("a", 5, 9), 10, None, {"gap": 2, "lost": 2}),
    "begun before the commit": (handed_over().reads("b", 3, 9), 10, None, {"reread": 2, "duplicate": 2}),
    "read twice in a turn": (Story().gets("a").reads("a", 0, 4).reads("a", 3, 9), 10, None, {"duplicate": 2}),
    "handed over without a commit": (
        Story().gets("a").reads("a", 0, 4).gives("a").gets("b").reads("b", 0, 9), 10, None, {"duplicate": 5},
    ),
    "a commit lost, then a kill": (
        Story().gets("a").reads("a", 0, 4).commits("a", 5).tell("a", "crashed").gets("b").reads("b", 0, 9), 10, None,
        {"reread": 5},
    ),
    "two that hold it": (Story().gets("a").gets("b").reads("b", 0, 9), 10, None, {"shared": 1}),
    "read without holding": (handed_over().reads("a", 5, 9).reads("b", 10, 10), 11, None, {"not-held": 5}),
    "a paused member's commit taken": (
        Story().gets("a").reads("a", 0, 4).tell("a", "paused").gets("b").reads("b", 0, 9).commits("b", 10)
        .tell("a", "resumed").commits("a", 5), 10, None, {"commit-back": 1},
    ),
    "not committed in the end": (handed_over().reads("b", 5, 9).commits("b", 10), 10, 9, {"uncommitted": 1}),
    "nothing committed": (Story().gets("a").reads("a", 0, 9), 10, 0, {"uncommitted": 1}),
    "an error": (handed_over().reads("b", 5, 9).tell("b", "error", error="gave up"), 10, None, {"failed": 1}),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_each_anomaly_is_found(name):
    story, end, committed, kinds = BAD[name]
    assert story.found(end, committed) == kinds


def test_says_who_and_where():
    text = str(check(handed_over().reads("b", 3, 9).events, {PLACE: 12}))
    assert "reread (2): t-0 by b at 5.000 s: began at 3, where 5 had been committed by a" in text
    assert "lost (2): t-0: nobody read 10 to 11; it was held by a at 0.000 s, b at 4.000 s" in text
    assert "duplicate (2): t-0: 3 to 4 read by a at 1.000 s, by b at 5.000 s" in text


def test_unrest():
    places = {("x", p) for p in range(4)} | {("y", p) for p in range(2)}
    x, y = [("x", p) for p in range(4)], [("y", p) for p in range(2)]
    assert unrest(places, {"a": {*x[:2], y[0]}, "b": {*x[2:], y[1]}}, "range") is None
    assert unrest(places, {"a": {*x[:3]}, "b": {x[3], *y}}, "sticky") is None
    assert "uneven by range of x" in unrest(places, {"a": {*x[:3], y[0]}, "b": {x[3], y[1]}}, "range")
    assert "uneven by sticky" in unrest(places, {"a": {*x}, "b": {*y}}, "sticky")
    assert "1 partitions are nobody's" in unrest(places, {"a": {*x[:2], y[0]}, "b": {*x[2:]}}, "range")
    assert "1 partitions are held twice" in unrest(places, {"a": {*x[:3], y[0]}, "b": {*x[2:], y[1]}}, "range")


TELLS_UNTIL_KILLED = """
import json, time
while True:
    print(json.dumps({"m": "m", "e": "read", "t": time.time(), "runs": []}), flush=True)
"""


@pytest.mark.parametrize("again", range(10))
def test_a_killed_member_tells_nothing_after_its_end(again, tmp_path):
    """What it read to the last moment is in its turns: it is told to have crashed when it is dead, not before."""
    history, host = History(), Host([sys.executable, "-c", TELLS_UNTIL_KILLED], tmp_path / "log")
    host.histories["m"] = history
    wait_until(lambda: len(history.of("m", "read")) > 100, "it to read")
    Member.kill9(SimpleNamespace(name="m", history=history, host=host))
    host.drain.join()
    [crashed] = history.of("m", "crashed")
    assert history.of("m", "read")[-1]["t"] < crashed["t"]


def test_a_share_that_is_given_to_a_leaving_member_is_not_held():
    history, (held, late) = History(), Story().gets("a").gets("a").events
    history.add(held)
    assert history.holding(["a"]) == {"a": {PLACE}}
    history.done("a", "closing")
    history.add(late)
    assert history.holding(["a"]) == {"a": set()}


@pytest.mark.parametrize("bag", [ORDERLY, ROUGH], ids=["orderly", "rough"])
def test_schedules(bag):
    """The same for the same seed; all moves of the bag; never without a member that is there."""
    for seed in range(200):
        moves = schedule(seed, bag)
        assert moves == schedule(seed, bag)
        assert sorted(m.what for m in moves if m.what != "resume") == sorted([*bag, "join", "join"])
        there: set[str] = set()
        assert all(before.settle for before, move in zip(moves, moves[1:]) if move.what == "pause")
        for move in moves:
            if move.what in ("join", "resume"):
                assert move.member not in there
                there.add(move.member)
            else:
                there.remove(move.member)
                assert move.what != "pause" or move.settle
            assert 1 <= len(there) <= 4
        assert moves[-1].settle
    assert len({tuple(schedule(seed, bag)) for seed in range(20)}) > 10
