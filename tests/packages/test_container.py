"""The image and its seccomp profile, by a real engine's builder and loader (buildah, without a daemon)."""

import json
import re
import subprocess

import pytest
from alone import Alone
from conftest import BUILT, need

from harness.paths import REPO, data_root

PROFILE = REPO / "deploy" / "container" / "seccomp.json"
NAME = "ringlog:test"


class Buildah:
    """Images and containers of its own, below `home`."""

    def __init__(self, home):
        self.command = ["buildah", "--storage-driver", "vfs", "--root", f"{home}/images", "--runroot", f"{home}/run"]

    def __call__(self, *arguments) -> str:
        done = subprocess.run([*self.command, *map(str, arguments)], capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout.strip()


@pytest.fixture(scope="module")
def buildah(tmp_path_factory):
    need("buildah")
    home = data_root() / tmp_path_factory.mktemp("buildah").name
    buildah = Buildah(home)
    context = BUILT / "container"
    assert context.is_dir(), "run `cargo xtask package tarball`"
    buildah("bud", "--isolation=chroot", "--format=docker", "--tag", NAME, "--file",
            REPO / "deploy/container/Containerfile", context)  # fmt: skip
    yield buildah
    buildah("rm", "--all")
    subprocess.run(["rm", "-rf", home], check=True)


def test_the_image_says_how_it_is_run(buildah):
    image = json.loads(buildah("inspect", "--type=image", NAME))["Docker"]["config"]
    assert image["User"] == "10001:10001"
    assert image["StopSignal"] == "SIGTERM"
    assert list(image["Volumes"]) == ["/data"]
    assert (image["Entrypoint"], image["Cmd"]) == (["/usr/bin/ringlog"], ["serve"])
    assert image["Healthcheck"]["Test"][:2] == ["CMD", "/usr/bin/ringlog"]


def test_a_container_serves_under_the_profile(buildah, tmp_path):
    container = buildah("from", "--security-opt", f"seccomp={PROFILE}", "--cap-drop=ALL", NAME)
    healthy = json.loads(buildah("inspect", "--type=image", NAME))["Docker"]["config"]["Healthcheck"]["Test"][1:]
    advertised = ["--advertised-kafka-addr", "127.0.0.1:9092"]
    command = [*buildah.command, "run", "--isolation=chroot", container, "/usr/bin/ringlog", "serve", *advertised]
    broker = Alone(command, tmp_path / "log")
    try:
        broker.wait_serving()
        process = serving(broker)
        status = open(f"/proc/{process}/status").read()
        assert re.search(r"^Seccomp:\s*2$", status, re.MULTILINE), status
        assert re.search(r"^Uid:\s*10001\s", status, re.MULTILINE), status
        assert re.search(r"^CapEff:\s*0+$", status, re.MULTILINE), status
        broker.round_trip("container")
        health = broker.enter(*buildah.command, "run", "--isolation=chroot", container, *healthy)
        assert health.returncode == 0, health.stderr
        subprocess.run(["kill", "-TERM", str(process)], check=True)
        assert broker.process.wait(60) == 0, broker.text()
        health = subprocess.run([*buildah.command, "run", "--isolation=chroot", container, *healthy], capture_output=True)
        assert health.returncode != 0, "nobody is there"
    finally:
        broker.discard()


def serving(broker) -> str:
    """The broker's process id: the youngest of the builder's descendants."""
    process = str(broker.process.pid)
    while children := open(f"/proc/{process}/task/{process}/children").read().split():
        process = children[-1]
    return process


def test_without_io_uring_in_the_profile_the_broker_says_so(buildah, tmp_path):
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"] = [rule for rule in profile["syscalls"] if "io_uring_setup" not in rule["names"]]
    (tmp_path / "without.json").write_text(json.dumps(profile))
    container = buildah("from", "--security-opt", f"seccomp={tmp_path / 'without.json'}", NAME)
    command = [*buildah.command, "run", "--isolation=chroot", container, "/usr/bin/ringlog", "serve"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0 and "io_uring: forbidden (EPERM)" in done.stdout + done.stderr, done


def test_every_system_call_of_the_profile_is_one():
    names = [name for rule in json.loads(PROFILE.read_text())["syscalls"] for name in rule["names"]]
    script = "import seccomp, sys; print([n for n in sys.argv[1:] if seccomp.resolve_syscall(seccomp.Arch(), n) == -1])"
    done = subprocess.run(["/usr/bin/python3", "-c", script, *names], capture_output=True, text=True)
    if "No module named" in done.stderr:
        pytest.skip("needs python3-seccomp")
    assert done.stdout.strip() == "[]", done
    assert len(names) - len(set(names)) == 4, "but for the values of personality each is there once"
