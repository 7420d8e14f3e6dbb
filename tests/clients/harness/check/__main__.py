"""Checks a recorded history again: `python -m harness.check FILE [--plant KIND]`. Status 1 if there is an error in it."""

import argparse
import json
import sys
from pathlib import Path

from .checker import Checker
from .history import read
from .plant import PLANTS

parser = argparse.ArgumentParser(prog="python -m harness.check", description=__doc__)
parser.add_argument("file", type=Path)
parser.add_argument("--plant", choices=PLANTS, help="first make the history wrong in this way")
arguments = parser.parse_args()

checker, plant = Checker(), PLANTS[arguments.plant]() if arguments.plant else lambda op: op
for op in read(arguments.file):
    checker.add(plant(op))
findings = checker.anomalies()
if findings.examples:
    print(findings)
print(json.dumps({"operations": checker.counts, "errors": findings.errors, "notices": findings.notices}))
sys.exit(1 if findings.errors else 0)
