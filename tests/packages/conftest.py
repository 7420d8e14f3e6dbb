"""The packages that are tested, as `cargo xtask package all` leaves them, and the harness of the client tests."""

import os
import shutil
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

BUILT = HERE.parent.parent / "target" / "package"


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root"))


@pytest.fixture(scope="session")
def deb():
    """Finds the package with this revision."""

    def find(revision: int, name: str = "ringlog") -> Path:
        found = sorted(BUILT.glob(f"{name}_*-{revision}_*.deb"))
        assert len(found) == 1, f"{found}: run `cargo xtask package deb --revision {revision}`"
        return found[0]

    return find


def need(program: str):
    if shutil.which(program) is None:
        pytest.skip(f"needs {program}")
