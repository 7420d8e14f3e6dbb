"""A consumer group whose members come, leave, are killed and paused while records flow, and a checker of what they saw.

`members.py` runs members of each library as processes that tell what befalls them (`worker.py` and its kin), `schedule.py`
decides what happens to them, `group.py` makes it happen, and `checker.py` tells from all that they told what cannot be.
"""
