"""The steps of test_cluster_tools.py: what is done to a cluster with ordinary tools (see harness/transcript.py)."""

from . import brokers, configs, reassignment, topics

# On a cluster that stays whole, and on one whose brokers are stopped and started.
WHOLE = [*topics.CHAPTERS, *configs.CHAPTERS, *brokers.CHAPTERS, *reassignment.CHAPTERS]
BROKEN = [*brokers.BROKEN, *reassignment.BROKEN]
