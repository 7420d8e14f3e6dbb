"""The steps of test_cluster_tools.py and test_group_tools.py: what is done with ordinary tools (see harness/transcript.py)."""

from . import brokers, configs, groups, reassignment, topics

# On a cluster that stays whole, and on one whose brokers are stopped and started.
WHOLE = [*topics.CHAPTERS, *configs.CHAPTERS, *brokers.CHAPTERS, *reassignment.CHAPTERS]
BROKEN = [*brokers.BROKEN, *reassignment.BROKEN]
GROUPS = groups.CHAPTERS
ALL = [*WHOLE, *BROKEN, *GROUPS]
