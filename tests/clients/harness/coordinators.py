"""Which broker coordinates: all groups on one broker, so that its failure is theirs."""

from . import quorum, replicas
from .cluster import Cluster
from .quorum import Unanswered
from .wait import PATIENCE_S, wait_until

OFFSETS = "__consumer_offsets"
PREFERRED = 0


def gather(cluster: Cluster, coordinator: int) -> dict[int, set[int]]:
    """Has one broker coordinate every group, with all others in sync: the ISR of each partition."""

    def there():
        try:
            quorum.find_coordinator(cluster[coordinator].address, "any")  # makes the topic
            return quorum.partitions(cluster[coordinator].address, OFFSETS)
        except Unanswered:
            return None

    partitions = wait_until(there, f"{OFFSETS} to be there")
    others = sorted(set(cluster.nodes) - {coordinator})
    address = cluster[coordinator].address
    quorum.reassign(address, OFFSETS, {p: [coordinator, *others] for p in partitions}, PATIENCE_S)
    isr = {p: set(cluster.nodes) for p in partitions}
    replicas.wait_in_sync(cluster, OFFSETS, isr)
    for p, view in quorum.partitions(address, OFFSETS, PATIENCE_S).items():
        if view.leader != coordinator:
            quorum.elect_leader(address, OFFSETS, p, PREFERRED, PATIENCE_S)

    def leads_all():
        return all(
            view and all(p.leader == coordinator for p in view.values())
            for view in replicas.views(cluster, OFFSETS).values()
        )

    wait_until(leads_all, f"broker {coordinator} to coordinate all groups")
    return isr


def other_than_controller(cluster: Cluster) -> int:
    controller = cluster.wait_controller()
    return min(set(cluster.nodes) - {controller})
