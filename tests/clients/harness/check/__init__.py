"""What clients saw, and whether one log can explain it.

`history` records operations of many clients into a file; `checker` reads them, in the order of that file, and names what
no correct cluster can have done; `plant` makes such anomalies, to show that they are found. `python -m harness.check
FILE` checks a file again. Absent: transactions, consumer groups, compacted topics, retention.
"""
