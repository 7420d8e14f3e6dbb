"""Topics of one, five and a hundred partitions are shared by a group whose members come and go, in every library.

Members commit what they have processed before they poll again. Then each record is processed once; where a member is killed or
paused for longer than its session, at least once, and nothing more than that member had in hand again. Shares are even when
nothing happens. What happens is decided by a seed, and checked from what members themselves tell (harness/sharing/).
"""

import itertools

import pytest

from harness.sharing.group import Group, Kind
from harness.sharing.schedule import ORDERLY, ROUGH, schedule
from harness.wait import wait_until

pytestmark = [pytest.mark.group, pytest.mark.timeout(300)]
ROUGH_SESSION_MS = 6_000

CLASSIC = [
    Kind("kafka-python"),
    Kind("kafka-python", "cooperative-sticky", subscribe="pattern"),
    Kind("confluent-kafka", subscribe="pattern"),
    Kind("confluent-kafka", "cooperative-sticky"),
    Kind("aiokafka", "range"),
    Kind("aiokafka", "sticky", subscribe="pattern"),
    Kind("franz-go"),
    Kind("franz-go", "roundrobin", subscribe="pattern"),
    Kind("java", subscribe="pattern"),
    Kind("java", "cooperative-sticky"),
]
CLASSIC_ROUGH = [
    Kind("kafka-python"),
    Kind("confluent-kafka", "cooperative-sticky"),
    Kind("aiokafka"),
    Kind("franz-go"),
    Kind("java"),
]
CONSUMER = [
    Kind("java", protocol="consumer"),
    Kind("java", "range", "consumer", subscribe="pattern"),
    Kind("java", "uniform", "consumer", subscribe="re2"),
    Kind("confluent-kafka", "uniform", "consumer"),
    Kind("confluent-kafka", "range", "consumer", subscribe="pattern"),
    Kind("franz-go", "uniform", "consumer", subscribe="pattern"),
    Kind("franz-go", "range", "consumer"),
]
CONSUMER_ROUGH = [
    Kind("java", protocol="consumer"),
    Kind("confluent-kafka", protocol="consumer"),
    Kind("franz-go", "range", "consumer"),
]


def every(kinds: list[Kind]):
    """A parameter for each; those of the consumer protocol only where the broker has it."""
    marks = {"consumer": pytest.mark.consumer_protocol}
    return pytest.mark.parametrize(
        "kind", [pytest.param(k, id=str(k), marks=[marks[k.protocol]] if k.protocol in marks else []) for k in kinds]
    )


@pytest.fixture
def group(group_broker, hosts, topic_name):
    """Makes the test's group, with its topics and records that flow into them."""
    with Group(group_broker.bootstrap, topic_name, hosts) as group:
        yield group


@every(CLASSIC + CONSUMER)
def test_members_come_and_go(kind, group, seed):
    """Nobody dies: each record is processed once, and a topic that comes later is shared too by who wants all that match."""
    moves = schedule(seed, ORDERLY)
    group.play(moves[:5], lambda _: kind)
    if kind.subscribe != "list":
        group.add_topic(f"{group.name}-later", 3)
    group.play(moves[5:], lambda _: kind)
    group.finish()


@every(CLASSIC_ROUGH + CONSUMER_ROUGH)
def test_members_die_and_stall(kind, group, seed):
    """A member is killed, another one stopped for longer than its session and continued; others take over from the commits."""
    group.own = True
    kind = Kind(**{**vars(kind), "session_ms": ROUGH_SESSION_MS})
    group.play(schedule(seed, ROUGH), lambda _: kind)
    group.finish()


def test_libraries_share_a_group(group, seed):
    """Members of all libraries in one group: each knows the range assignor, and may be its leader."""
    libraries = itertools.cycle(["kafka-python", "confluent-kafka", "aiokafka", "franz-go", "java"])
    group.play(schedule(seed, ORDERLY, first=3, most=5), lambda _: Kind(next(libraries), "range"))
    group.finish()


@pytest.mark.consumer_protocol
def test_libraries_share_a_consumer_group(group, seed):
    """The same with the broker as the assignor."""
    libraries = itertools.cycle(["confluent-kafka", "franz-go", "java"])
    group.play(schedule(seed, ORDERLY, first=3, most=5), lambda _: Kind(next(libraries), "uniform", "consumer"))
    group.finish()


STATIC = [
    *(Kind(library, "range") for library in ("kafka-python", "confluent-kafka", "aiokafka", "franz-go", "java")),
    # Not franz-go: it closes without a word, and comes back only when its session has ended.
    *(Kind(library, "range", "consumer") for library in ("confluent-kafka", "java")),
]


@every(STATIC)
def test_static_member_comes_back(kind, group):
    """A member with an instance id that is closed and comes back in time has what it had, and nobody else notices.

    In the classic protocol also one that is killed: in the other the coordinator waits for its session to end.
    """
    staying = group.join(kind, instance="staying")
    group.join(kind, instance="moving", own=True)
    group.settle("with two static members")
    share, moves = group.shares()["m2"], _moves(group, staying)
    group.leave("m2")
    group.join(kind, instance="moving", own=True)
    group.settle("after one was closed and came back")
    assert group.shares()["m3"] == share
    if kind.protocol == "classic":
        group.crash("m3")
        group.join(kind, instance="moving", own=True)
        group.settle("after it was killed and came back")
        assert group.shares()["m4"] == share
    assert _moves(group, staying) == moves, f"the other one was disturbed\n{group.story()}"
    group.finish()


def _moves(group: Group, member) -> int:
    return sum(len(group.history.of(member.name, what)) for what in ("assigned", "revoked", "lost"))


def test_second_owner_of_an_instance_fences_the_first(group):
    """Two with one instance id: the later one has the share, and the first is told so and ends."""
    kind = Kind("java", "range")
    group.join(kind, instance="one")
    group.settle("with one static member")
    first = group.members.pop("m1")
    group.join(kind, instance="one")
    group.settle("with another one of its id")
    wait_until(first.failed, "the first one to be fenced")
    assert "FencedInstanceIdException" in first.failed()[0]["error"], first.failed()


@pytest.mark.consumer_protocol
def test_second_owner_of_an_instance_is_refused(group):
    """In the consumer protocol it is the other way round: the later one is refused, and the first one goes on."""
    kind = Kind("java", protocol="consumer")
    group.join(kind, instance="one")
    group.settle("with one static member")
    late = group.join(kind, instance="one")
    del group.members["m2"]
    wait_until(late.failed, "the second one to be refused")
    assert "UnreleasedInstanceIdException" in late.failed()[0]["error"], late.failed()
    group.settle("after that")


@pytest.mark.consumer_protocol
@pytest.mark.parametrize("libraries", [("java", "java"), ("confluent-kafka", "java"), ("java", "confluent-kafka")], ids="-to-".join)
def test_live_upgrade_and_downgrade(libraries, group):
    """Members of the classic protocol are replaced by such of the consumer protocol one by one, and back; each record once."""
    classic, consumer = Kind(libraries[0], "range"), Kind(libraries[1], "range", "consumer")
    for _ in range(3):
        group.join(classic)
    group.settle("with members of the classic protocol")
    for old, kind in ((n, consumer) for n in ("m1", "m2", "m3")):
        group.join(kind)
        group.settle(f"with {kind} in place of {old}, soon")
        group.leave(old)
        group.settle(f"without {old}")
    for old, kind in ((n, classic) for n in ("m4", "m5", "m6")):
        group.join(kind)
        group.settle(f"with {kind} in place of {old}, soon")
        group.leave(old)
        group.settle(f"without {old}")
    group.finish()
