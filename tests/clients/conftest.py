"""Fixtures: the shared broker, topics, and what is kept of a failed run."""

import contextlib
import itertools
import json
import os
import random

import pytest

from harness import paths, wire
from harness.broker import Broker, new_broker
from harness.cluster import Cluster
from harness.sharing.members import Hosts
from harness.topics import create_topic


def pytest_report_header():
    binary = paths.ringlog_binary() if paths.AGAINST == "ringlog" else "Apache Kafka 4.3.0"
    return f"against: {paths.AGAINST} ({binary}), data under {paths.data_root()}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    setattr(item, f"report_{report.when}", report)
    return report


class SharedBroker:
    """One broker for all tests that need no own one; replaced when a test made it end, so that the others still run."""

    def __init__(self):
        self.broker: Broker | None = None
        self.kept = []

    def get(self) -> Broker:
        if self.broker is not None and not self.broker.alive():
            self.kept.append(self.broker)
            self.broker = None
        if self.broker is None:
            self.broker = new_broker("shared", SHARED_SETTINGS).start()
        return self.broker


# log.retention.check.interval.ms and the like stay out of here: tests that need such settings run their own broker.
SHARED_SETTINGS: dict[str, str] = {}


@pytest.fixture(scope="session")
def _shared(request):
    shared = SharedBroker()
    yield shared
    if shared.broker is None:
        return
    status = shared.broker.stop() if shared.broker.alive() else None
    if request.session.testsfailed == 0 and not shared.kept:
        shared.broker.discard()
    # Kafka's JVM reports SIGTERM as 143; Ringlog promises a clean end.
    assert status in ((0, 143) if paths.AGAINST == "kafka" else (0,)), f"exit status after SIGTERM: {status}"


@pytest.fixture
def broker(_shared):
    """The shared broker; the test fails if it ends or panics meanwhile."""
    broker = _shared.get()
    panics_before = broker.log_text().count("panicked at")
    yield broker
    broker.check_alive()
    assert broker.log_text().count("panicked at") == panics_before, f"a panic in the broker:\n{broker.log_tail()}"


@pytest.fixture
def own_broker(request):
    """Makes brokers of this test's own: `own_broker(settings, shards=2)`, started. Gone after the test if it passed."""
    made: list[Broker] = []

    def make(settings=None, *, start=True, **kwargs) -> Broker:
        broker = new_broker(request.node.originalname.removeprefix("test_")[:40], settings, **kwargs)
        made.append(broker)
        return broker.start() if start else broker

    yield make
    call = getattr(request.node, "report_call", None)
    failed = call is None or call.failed
    for broker in made:
        if not failed:
            broker.discard()
            continue
        if broker.process is not None:
            print(f"--- the end of {broker.log_file}\n{broker.log_tail()}")
            broker.kill9()
        print(f"--- kept for a look: {broker.dir}")


# So that members of consumer groups are heard of more often, and may be silent for as short a time, as classic ones.
CONSUMER_GROUPS = {
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "6000",
}


@pytest.fixture(scope="session")
def has_consumer_protocol(_shared):
    """Whether the broker has the group protocol of KIP-848, by its own word."""
    return wire.CONSUMER_GROUP_HEARTBEAT in wire.api_versions(_shared.get().address)


@pytest.fixture(scope="session")
def group_settings(has_consumer_protocol) -> dict[str, str]:
    """A broker's settings that keep waits short in tests of groups."""
    return CONSUMER_GROUPS if has_consumer_protocol else {}


@pytest.fixture(scope="module")
def _group_broker(group_settings):
    broker = new_broker("groups", group_settings).start()
    yield broker
    broker.discard()


@pytest.fixture
def group_broker(request, _group_broker, has_consumer_protocol):
    """A module's broker for groups. Tests marked `consumer_protocol` are skipped where the broker does not have it."""
    if request.node.get_closest_marker("consumer_protocol") and not has_consumer_protocol:
        pytest.skip("the broker does not have ConsumerGroupHeartbeat")
    yield _group_broker
    _group_broker.check_alive()
    assert "panicked at" not in _group_broker.log_text(), f"a panic in the broker:\n{_group_broker.log_tail()}"


@pytest.fixture(scope="session")
def hosts(tmp_path_factory):
    """Where members of groups run."""
    hosts = Hosts(tmp_path_factory.mktemp("members"))
    yield hosts
    hosts.end()


@pytest.fixture(scope="module")
def module_cluster(request):
    """Makes a module's clusters: `module_cluster(name, settings)`, started. Folders go if all tests passed."""
    with kept_clusters(request) as make:
        yield make


@pytest.fixture
def own_cluster(request):
    """The same for a cluster of one test's own."""
    with kept_clusters(request) as make:
        yield make


@contextlib.contextmanager
def kept_clusters(request):
    made: list[Cluster] = []
    failed_before = request.session.testsfailed

    def make(name, settings=None, *, start=True, **kwargs) -> Cluster:
        cluster = Cluster(name, settings, **kwargs)
        made.append(cluster)
        return cluster.start() if start else cluster

    yield make
    for cluster in made:
        cluster.kill_all()
        if request.session.testsfailed == failed_before:
            cluster.discard()
        else:
            print(f"--- kept for a look: {[str(node.dir) for node in cluster.nodes.values()]}")


_serial = itertools.count()


@pytest.fixture
def topic_name(request):
    """A name that no other test has, with the test's own name in it."""
    safe = "".join(c if c.isalnum() else "-" for c in request.node.name)[:80]
    return f"{safe}-{os.getpid()}-{next(_serial)}"


@pytest.fixture
def topic(broker, topic_name):
    """Makes the test's topic on the shared broker: `topic(partitions=3, configs={...})` returns its name."""
    made = itertools.count()

    def make(partitions=1, configs=None) -> str:
        name = f"{topic_name}-{next(made)}"
        create_topic(broker.bootstrap, name, partitions, configs)
        return name

    return make


@pytest.fixture
def seed(request):
    """The seed of this test's random data: RINGLOG_TEST_SEED, else fresh; printed when the test fails."""
    seed = int(os.environ.get("RINGLOG_TEST_SEED", random.SystemRandom().randrange(1 << 32)))
    print(f"seed {seed} (repeat with RINGLOG_TEST_SEED={seed})")
    return seed


@pytest.fixture
def report(capsys, record_property):
    """Prints a line of JSON that is seen when the test passes, too."""

    def say(**values):
        for name, value in values.items():
            record_property(name, value)
        with capsys.disabled():
            print("\n" + json.dumps({"against": paths.AGAINST, **values}), flush=True)

    return say
