"""A campaign of faults under recorded clients: what all of them saw must be one log for each partition.

First faults alone, then several at once, chosen from a seed that is printed; after each a quiet window (`harness/campaign`)
in which a checker looks at all that clients have seen so far (`harness/check`). Each round prints a line of JSON: what was
acknowledged meanwhile, how long nothing was, and how long the cluster took to be whole. None of that is asserted.

RINGLOG_CAMPAIGN_SECONDS says how long it goes on, RINGLOG_CAMPAIGN_FAULTS which faults there are if not all (see
`faults.named`), and RINGLOG_CAMPAIGN_HISTORY where its history is kept. Whatever a client
library gives up by itself is counted; it fails the test unless more than one broker was concerned.
"""

import os
import random
import time
from itertools import chain
from pathlib import Path

import pytest

from harness import faults, paths, slow_disk
from harness.campaign import Anomalies, Campaign, progress
from harness.check.checker import LOST
from harness.check.plant import PLANTS
from harness.cluster import Cluster
from harness.faults import KINDS, TARGETS, Strike, plan
from harness.netns import network_or_skip
from harness.wait import wait_until

SECONDS = float(os.environ.get("RINGLOG_CAMPAIGN_SECONDS", "75"))
ONLY = os.environ.get("RINGLOG_CAMPAIGN_FAULTS")
HISTORY = os.environ.get("RINGLOG_CAMPAIGN_HISTORY")
ALONE_SHARE = 0.6  # of the time at most is for faults alone, so that a short campaign has mixed ones too
SETTINGS = {
    "replica.lag.time.max.ms": "3000",
    "replica.selector.class": "org.apache.kafka.common.replica.RackAwareReplicaSelector",
}


@pytest.fixture(scope="module")
def network():
    with network_or_skip(3) as network:
        yield network


@pytest.fixture(scope="module")
def cluster(network, module_cluster) -> Cluster:
    return module_cluster("failover-check", SETTINGS, places=network.places(), shards=2)


@pytest.fixture
def campaign(cluster, network, topic_name, seed, request):
    """Makes the test's campaign: `campaign(plant, careless)`, started. Its history is kept when the test fails."""
    made: list[Campaign] = []

    def make(plant=lambda op: op, careless=False) -> Campaign:
        cluster.start_missing()
        history = Path(HISTORY or paths.data_root() / f"{topic_name}.history.jsonl")
        made.append(Campaign(cluster, network, topic_name[-60:], history, seed, plant))
        return made[-1].start(careless)

    yield make
    network.mend()
    for n in list(network.cut):
        network.heal(n)
    for node in cluster.running():
        node.resume()
    for one in made:
        one.stop()
        call = getattr(request.node, "report_call", None)
        if call is None or call.failed:
            print(f"--- history: {one.recorder.path}; see python -m harness.check\n{one.checker.anomalies()}")
        elif not HISTORY:
            one.recorder.path.unlink()


def without(cluster: Cluster) -> set[str]:
    """Kinds of faults that are not possible here."""
    try:
        slow_disk.available(cluster[1].data_dir)
        return set()
    except OSError as e:
        print(f"no slow disk: {e}")
        return {"slow-disk"}


@pytest.mark.cluster
@pytest.mark.cluster_faults
@pytest.mark.timeout(int(2 * SECONDS) + 1200)
def test_one_log_for_all(cluster, campaign, seed, report):
    """Nothing acknowledged is lost, doubled, moved or hidden, and nothing shown is taken back, by any of the faults."""
    running = campaign()
    singles, mixes = plan(seed, without(cluster), ONLY)
    began = time.monotonic()
    rounds = 0
    for strikes in chain(singles, mixes):
        elapsed = time.monotonic() - began
        if elapsed > SECONDS:
            break
        if len(strikes) == 1 and elapsed > SECONDS * ALONE_SHARE and not ONLY:
            continue
        report(round=rounds, at_s=round(elapsed), **running.round(strikes))
        rounds += 1
    running.quiet(whole=True)
    summary = running.summary()
    report(seed=seed, rounds=rounds, **summary)
    running.raise_found(tolerated=())
    running.check_logs()
    assert rounds > 1


@pytest.mark.cluster
@pytest.mark.parametrize("kind", PLANTS)
def test_what_is_planted_is_found_by_a_campaign(kind, campaign):
    """What one client is said to have read is altered on its way into the history: the campaign fails."""
    plant = PLANTS[kind]()
    running = campaign(plant)
    wait_until(lambda: plant.partition, "something to be planted")
    with pytest.raises(Anomalies):
        running.quiet()


@pytest.mark.cluster
@pytest.mark.cluster_faults
def test_what_a_cluster_really_loses_is_found(campaign):
    """A leader that is cut off takes records of a producer that asks for no more than that: they are lost, and known."""
    running = campaign(careless=True)
    running.wait_written(time.monotonic())
    with pytest.raises(Anomalies, match=LOST):
        # Until it has taken some, and another one leads: about seven seconds, if the controller stays.
        running.round([Strike("isolate", "leader", 0.0, 14.0)])


@pytest.mark.cluster
def test_without_faults_nothing_is_found(campaign, cluster):
    running = campaign()
    racks = {reader.rack: reader for reader in running.readers if getattr(reader, "rack", None)}
    for rack, node_id in (("a", 1), ("c", 3)):
        answering = lambda: {racks[rack].answering.get(where) for where in running.partitions} == {node_id}  # noqa: B023, E731
        wait_until(answering, f"the consumer in rack {rack} to read from broker {node_id}")
    wait_until(lambda: running.recorder.counts["sent"] > 100, "a hundred records to be acknowledged")
    running.quiet(whole=True)
    assert not running.summary()["errors"]


def test_a_plan_is_of_its_seed_and_has_everything():
    singles, mixes = plan(7)
    assert singles == plan(7)[0] != plan(8)[0]
    assert [s for (s,) in singles if s.kind == "kill"] and len(singles) == len({s.name for (s,) in singles})
    assert {(s.kind, s.target) for (s,) in singles} == {
        (k, t) for k in KINDS for t in TARGETS if faults.possible(k, t)
    }  # fmt: skip
    assert len({s.kind for (s,) in singles[:5]}) == 5, "a short campaign has many kinds"
    for _, strikes in zip(range(200), mixes):
        assert 2 <= len(strikes) <= 4 and sum(KINDS[s.kind].filters for s in strikes) <= 1
    singles, endless = plan(7, only="kill leader,flap all+loss follower")
    assert [[s.name for s in strikes] for strikes in singles] == [["kill leader"], ["flap all", "loss follower"]]
    assert [next(endless) for _ in range(3)] == [*singles, singles[0]]
    assert not any(s.kind == "loss" for (s,) in plan(7, {"loss"})[0])


def test_targets_are_what_they_are_called():
    nodes, leading, rng = [1, 2, 3], {1: 1, 2: 5, 3: 0}, random.Random(1)
    found = {name: faults.targets(name, nodes, leading, 3, rng) for name in TARGETS}
    assert (found["leader"], found["follower"], found["controller"], found["all"]) == ([2], [1], [3], [1, 2, 3])
    assert (len(found["minority"]), len(found["majority"])) == (1, 2)


def test_progress_is_measured_within_the_fault():
    found = progress({"a": [9.0, 10.5, 11.0, 13.0], "b": []}, 10.0, 14.0)
    assert found == {"acknowledged_per_s": {"a": 1, "b": 0}, "longest_gap_s": {"a": 2.0, "b": 4.0}}
