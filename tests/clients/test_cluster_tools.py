"""A cluster of three brokers, managed with ordinary admin tools: Ringlog answers what real Kafka answers.

Each test is a chapter of steps; its transcript must be the one that Kafka left in transcripts/.
"""

import pytest

import chapters
from harness import transcript
from harness.admins.kadm_admin import KadmAdmin
from harness.cluster import Cluster
from harness.transcript import each_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def whole(module_cluster) -> Cluster:
    """A cluster whose brokers all run all the time."""
    return module_cluster("whole")


@pytest.fixture(scope="module")
def broken(module_cluster) -> Cluster:
    """Another, whose brokers are stopped and started; a test begins when all are back."""
    return module_cluster("broken")


def clean(cluster: Cluster):
    """Starts what is down and deletes all topics but the marker and Kafka's own."""
    cluster.check_alive()
    cluster.start_nodes(*(node.id for node in cluster.nodes.values() if node.process is None))
    transcript.delete_topics(cluster)
    forget_broker_configs(cluster)
    cluster.settle()


def forget_broker_configs(cluster: Cluster):
    """Takes back what was set on brokers at run time, and for all of them."""
    admin = KadmAdmin(cluster.bootstrap)
    own = {True: "DYNAMIC_BROKER_CONFIG", False: "DYNAMIC_DEFAULT_BROKER_CONFIG"}
    for brokers in ([], *([node_id] for node_id in cluster.nodes)):
        for found in admin._run("describe_broker_configs", brokers=brokers).values():
            left = {name: None for name, (_, source) in found.items() if source == own[bool(brokers)]}
            if left:
                admin._run("alter_broker_configs", brokers=brokers, configs=left)


@pytest.mark.parametrize("chapter", each_of(chapters.WHOLE))
def test_tools(chapter, whole, tmp_path):
    """In a whole cluster."""
    transcript.check(chapter, whole, tmp_path, clean)


@pytest.mark.parametrize("chapter", each_of(chapters.BROKEN))
def test_tools_with_brokers_down(chapter, broken, tmp_path):
    """In a cluster that loses brokers and gets them back."""
    transcript.check(chapter, broken, tmp_path, clean)


def test_every_transcript_has_a_chapter():
    """No golden file is left over, and none is missing."""
    names = {chapter.name for chapter in chapters.ALL}
    assert {file.stem for file in transcript.GOLDEN.glob("*.txt")} == names
