"""Consumer groups on three brokers, managed with Kafka's tools and admin clients: Ringlog answers what real Kafka answers.

Chapters and transcripts as in test_cluster_tools.py.
"""

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

import chapters
from chapters.groups import MEMBERS
from harness import transcript
from harness.cluster import Cluster
from harness.transcript import each_of
from harness.wait import PATIENCE_S, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.group, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def whole(module_cluster, group_settings) -> Cluster:
    # No chapter waits for a session to end, and the tools' JVMs take their time while a static member is away.
    return module_cluster("groups", {**group_settings, "group.consumer.session.timeout.ms": "45000"})


def clean(cluster: Cluster):
    """No member, group or topic is left."""
    MEMBERS.close_all()
    client = AdminClient({"bootstrap.servers": cluster.bootstrap})

    def no_groups():
        left = [g.group_id for g in client.list_consumer_groups().result(PATIENCE_S).valid]
        for future in client.delete_consumer_groups(left).values() if left else ():
            try:
                future.result(PATIENCE_S)
            except KafkaException as e:  # a static member's session lasts
                if e.args[0].name() not in ("NON_EMPTY_GROUP", "GROUP_ID_NOT_FOUND"):
                    raise
        return not left

    wait_until(no_groups, "all groups to be gone")
    transcript.delete_topics(cluster)
    cluster.settle()


@pytest.mark.parametrize("chapter", each_of(chapters.GROUPS))
def test_group_tools(chapter, whole, tmp_path, has_consumer_protocol):
    """The chapter's transcript is Kafka's."""
    if chapter.consumer_protocol and not has_consumer_protocol:
        pytest.skip("the broker does not have ConsumerGroupHeartbeat")
    transcript.check(chapter, whole, tmp_path, clean)
