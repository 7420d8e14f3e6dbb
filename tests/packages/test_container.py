"""The image and its seccomp profile, by a real engine's builder and loader (buildah, without a daemon).

Not by its runner, which without root's whole machinery hides parts of /sys so that nobody can even look whether they are there.
"""

import json
import re
import subprocess
from pathlib import Path

import pytest
from alone import Alone
from conftest import BUILT, need

from harness.paths import REPO, data_root

PROFILE = REPO / "deploy" / "container" / "seccomp.json"
NAME = "ringlog:test"
HERE = Path(__file__).resolve().parent


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
    assert set(image_environment()) <= set(image["Env"])


def checked(buildah, profile):
    """What `ringlog check` says of io_uring where the engine has loaded the profile."""
    container = buildah("from", "--security-opt", f"seccomp={profile}", "--cap-drop=ALL", NAME)
    program = ["/usr/bin/ringlog", "check", "--json", "--advertised-kafka-addr", "127.0.0.1:9092", "--http-addr", "127.0.0.1:0"]
    command = [*buildah.command, "run", "--isolation=chroot", container, *program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # The builder has a line of its own behind it where the status is not 0.
    assert done.stdout.startswith("{"), done
    report, _ = json.JSONDecoder().raw_decode(done.stdout)
    return next(line for line in report["checks"] if line["check"] == "io_uring")


def without_io_uring(tmp_path):
    profile = json.loads(PROFILE.read_text())
    profile["syscalls"] = [rule for rule in profile["syscalls"] if "io_uring_setup" not in rule["names"]]
    path = tmp_path / "without.json"
    path.write_text(json.dumps(profile))
    return path


def test_an_engine_takes_the_profile_and_it_decides(buildah, tmp_path):
    assert checked(buildah, PROFILE)["verdict"] == "OK"
    refused = checked(buildah, without_io_uring(tmp_path))
    assert refused["verdict"] == "FAIL" and "forbidden (EPERM)" in refused["found"], refused


def test_where_sys_is_hidden_the_broker_says_so(buildah):
    container = buildah("from", "--security-opt", f"seccomp={PROFILE}", NAME)
    program = ["/usr/bin/ringlog", "serve", "--advertised-kafka-addr", "127.0.0.1:9092"]
    done = subprocess.run([*buildah.command, "run", "--isolation=chroot", container, *program], capture_output=True, text=True)
    assert done.returncode == 1 and "cannot start: sysfs: /sys/dev/block" in done.stdout + done.stderr, done


@pytest.fixture
def unpacked(buildah):
    """The image's files, with what an engine adds to them."""
    needs_seccomp()
    root = buildah("mount", buildah("from", NAME))
    for name in ("proc", "sys", "dev"):
        Path(root, name).mkdir(exist_ok=True)
    return root


def image_environment() -> list[str]:
    """What the Containerfile sets, which engines hand to the process."""
    text = (REPO / "deploy/container/Containerfile").read_text()
    return re.findall(r"\b(RINGLOG_[A-Z_]+=\S+)", text[text.index("\nENV ") :])


def run_in(root, profile, arguments, log):
    """As an engine would run it: files, devices, user, capabilities and filter. With the image's own settings."""
    mounts = f"mount -t proc proc {root}/proc && mount -t sysfs -o ro sysfs {root}/sys && mount -t tmpfs tmpfs {root}/dev"
    devices = f": >{root}/dev/null && mount --bind /dev/null {root}/dev/null"
    inside = [
        "/usr/bin/python3", str(HERE / "under_profile.py"), str(profile), root, "10001", "/usr/bin/ringlog", *arguments,
    ]  # fmt: skip
    dropped = ["setpriv", "--bounding-set=-all,+setuid,+setgid,+sys_chroot", "--inh-caps=-all"]
    script = f'mount --make-rprivate / && {mounts} && {devices} && exec "$@"'
    command = ["unshare", "--mount", "sh", "-euc", script, "sh", *dropped, "env", *image_environment(), *inside]
    return Alone(command, log)


def test_a_container_serves_under_the_profile(buildah, unpacked, tmp_path):
    broker = run_in(unpacked, PROFILE, ["serve", "--advertised-kafka-addr", "127.0.0.1:9092"], tmp_path / "log")
    try:
        broker.wait_serving()
        status = Path(f"/proc/{broker.process.pid}/status").read_text()
        for expected in (r"Seccomp:\s*2", r"NoNewPrivs:\s*1", r"Uid:\s*10001\s.*", r"CapEff:\s*0+"):
            assert re.search(rf"^{expected}$", status, re.MULTILINE), status
        broker.round_trip("container")
        healthy = json.loads(buildah("inspect", "--type=image", NAME))["Docker"]["config"]["Healthcheck"]["Test"][1:]
        assert broker.enter("chroot", unpacked, *healthy).returncode == 0
        assert broker.stop() == 0, broker.text()
        assert subprocess.run(["chroot", unpacked, *healthy], capture_output=True).returncode == 1, "nobody is there"
    finally:
        broker.discard()


def test_without_io_uring_in_the_profile_the_broker_says_so(unpacked, tmp_path):
    arguments = ["serve", "--advertised-kafka-addr", "127.0.0.1:9092"]
    broker = run_in(unpacked, without_io_uring(tmp_path), arguments, tmp_path / "log")
    try:
        assert broker.process.wait(60) == 1, broker.text()
        assert "io_uring: forbidden (EPERM)" in broker.text()
    finally:
        broker.discard()


def needs_seccomp():
    if subprocess.run(["/usr/bin/python3", "-c", "import seccomp"], capture_output=True).returncode != 0:
        pytest.skip("needs python3-seccomp")


def test_every_system_call_of_the_profile_is_one():
    names = [name for rule in json.loads(PROFILE.read_text())["syscalls"] for name in rule["names"]]
    script = "import seccomp, sys; print([n for n in sys.argv[1:] if seccomp.resolve_syscall(seccomp.Arch(), n) == -1])"
    needs_seccomp()
    done = subprocess.run(["/usr/bin/python3", "-c", script, *names], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done
    assert len(names) - len(set(names)) == 4, "but for the values of personality each is there once"
