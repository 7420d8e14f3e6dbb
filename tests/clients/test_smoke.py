"""One quick pass per client: it connects, produces, reads back the same, in a topic of three partitions."""

import pytest

from harness.clients import CLIENTS
from harness.records import assert_same, assorted
from harness.topics import offsets

pytestmark = pytest.mark.smoke


@pytest.mark.parametrize("client", CLIENTS, ids=repr)
def test_produce_then_consume(client, broker, topic, seed):
    """What a client sends it reads back byte-equal, in order, and the broker holds no more than that."""
    sees = client.sets & client.sees
    name = topic(partitions=3)
    sent = assorted(60, 3, seed, client.sets)
    told = client.produce(broker.bootstrap, name, sent)
    assert_same(sent, client.consume(broker.bootstrap, name, len(sent)), sees)
    assert sum(offsets(broker, name, p)[1] for p in range(3)) == len(sent)
    if told is not None:
        assert told == [i // 3 for i in range(len(sent))], "offsets in the acknowledgements"
