"""One quick pass per client: it connects, produces, reads back the same, in a topic of three partitions."""

import pytest

from harness.clients import CLIENTS
from harness.records import assert_same, assorted, partitions_for
from harness.topics import offsets

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
def test_produce_then_consume(client, broker, topic, seed):
    """What a client sends it reads back byte-equal, in order, and the broker holds no more than that."""
    partitions = partitions_for(client.sets, 3)
    name = topic(partitions)
    sent = assorted(60, partitions, seed, client.sets)
    told = client.produce(broker.bootstrap, name, sent)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), client.sets & client.sees)
    assert [offsets(broker, name, p) for p in range(partitions)] == [(0, 60 // partitions)] * partitions
    if told is not None:
        assert told == [i // partitions for i in range(len(sent))], "offsets in the acknowledgements"
