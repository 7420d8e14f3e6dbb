"""What documents tell an operator to type, typed on a Debian with systemd."""

import pytest
from machine import Machine

from harness import docs
from harness.paths import REPO

DEPLOYMENT, CLUSTER = REPO / "docs" / "deployment.md", REPO / "docs" / "cluster.md"
# Prompts of what is done on every machine of the cluster, and on this one.
BROKERS, FIRST = "brokers", "broker-1"
FIRST_ADDRESS = "10.20.0.1"


@pytest.fixture
def machine(deb):
    """With the package in /root, under the name that documents have for it."""
    machine = Machine("trixie")
    try:
        machine.boot()
        package = next(command for command in docs.commands(DEPLOYMENT.read_text()) if command.text.startswith("dpkg --install"))
        machine.copy(deb(1), f"/root/{package.text.split()[-1]}")
        yield machine
    finally:
        machine.halt()


def test_deployment_md(machine, deb):
    assert machine.file(f"/root/{deb(1).name}").exists(), "the document names the package as it is called"
    docs.run_on({None: [machine.shell()]}, DEPLOYMENT)


def test_a_masked_unit_waits_for_its_configuration(machine):
    """The part of cluster.md that only systemd can carry out; the rest is test_docs.py's. The first broker's configuration is
    written where the document has it."""
    shell = machine.shell()
    try:
        is_start = {FIRST: "systemctl start ringlog"}
        typed = []
        for command in docs.commands(CLUSTER.read_text()):
            if is_start.get(command.machine) == command.text:
                break
            if (command.machine == BROKERS and "norun" in command.modes) or command.machine == FIRST:
                typed.append(command.text)
        assert [text.split()[:2] for text in typed] == [
            ["systemctl", "mask"], ["dpkg", "--install"], ["cat", ">"], ["ringlog", "check"], ["systemctl", "unmask"],
            ["systemctl", "enable"],
        ]  # fmt: skip
        machine.give_address(FIRST_ADDRESS)
        for text in typed:
            status, printed = shell.run(text)
            assert status == 0 or text.startswith("ringlog check"), f"{text}: {status}\n" + "\n".join(printed)
            assert machine.show("ActiveState") == "inactive", f"after {text}"
        assert not list(machine.file("/var/lib/ringlog").iterdir()), "no cluster was begun"
        status, printed = shell.run("systemctl start ringlog && systemctl is-enabled ringlog")
        assert (status, printed) == (0, ["enabled"]), f"{printed}\n{machine.journal()}"
    finally:
        shell.close()
