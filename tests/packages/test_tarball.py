"""The tarball: complete, the same bytes each time, and a broker that runs where there is nothing else."""

import os
import re
import subprocess
import tarfile
from pathlib import Path

import pytest
from alone import Alone
from conftest import BUILT

from harness import docs
from harness.paths import REPO, data_root


@pytest.fixture(scope="module")
def tarball():
    found = sorted(BUILT.glob("ringlog-*-linux.tar.gz"))
    assert len(found) == 1, f"{found}: run `cargo xtask package tarball`"
    return found[0]


@pytest.fixture
def empty_root(tarball, tmp_path_factory):
    """A root with nothing but the tarball's program."""
    root = data_root() / tmp_path_factory.mktemp("empty").name
    (root / "bin").mkdir(parents=True)
    (root / "data").mkdir()
    with tarfile.open(tarball) as tar:
        member = next(member for member in tar.getmembers() if member.name.endswith("/bin/ringlog"))
        (root / "bin/ringlog").write_bytes(tar.extractfile(member).read())
    (root / "bin/ringlog").chmod(0o755)
    yield root
    subprocess.run(["rm", "-rf", root], check=True)


def test_it_is_complete_and_all_of_it_is_root_s(tarball):
    with tarfile.open(tarball) as tar:
        members = tar.getmembers()
    top = tarball.name.removesuffix(".tar.gz")
    names = [member.name for member in members]
    for wanted in ("bin/ringlog", "etc/ringlog.toml", "systemd/ringlog.service", "container/seccomp.json", "LICENSE",
                   "doc/deployment.md", "doc/configuration.md", "doc/cluster.md", "doc/runbook.md",
                   "share/man/man1/ringlog.1", "share/man/man1/ringlog-serve.1", "share/man/man5/ringlog.toml.5",
                   "share/completions/bash/ringlog", "share/completions/zsh/_ringlog", "share/completions/fish/ringlog.fish",
                   "share/prometheus/rules.yml", "share/grafana/ringlog-cluster.json"):  # fmt: skip
        assert f"{top}/{wanted}" in names, names
    told = [command.text for command in docs.commands((REPO / "docs/deployment.md").read_text())]
    assert f"tar -xzf {tarball.name}" in told and f"{top}/bin/ringlog serve --data-dir /srv/ringlog" in told, told
    assert names == sorted(names)
    assert {(member.uid, member.gid, member.uname, member.gname) for member in members} == {(0, 0, "", "")}
    assert len({member.mtime for member in members}) == 1


def test_links_of_its_documents_lead_somewhere(tarball):
    with tarfile.open(tarball) as tar:
        texts = {Path(m.name).name: tar.extractfile(m).read().decode() for m in tar.getmembers() if "/doc/" in m.name}
    assert len(texts) > 10
    links = {link for text in texts.values() for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link}
    files = {link.partition("#")[0] for link in links} - {""}
    assert files <= set(texts) and len(files) > 5, files - set(texts)


def test_two_packings_are_the_same_bytes(tarball):
    before = tarball.read_bytes()
    for name in (BUILT / tarball.name.removesuffix(".tar.gz")).rglob("*"):
        name.touch()
    profile = os.environ.get("RINGLOG_PACKAGE_PROFILE", "release")  # with which the other was made
    subprocess.run(["cargo", "xtask", "package", "tarball", "--profile", profile], cwd=REPO, check=True)
    assert tarball.read_bytes() == before


def test_it_serves_in_an_empty_root(empty_root, tmp_path):
    ldd = subprocess.run(["ldd", empty_root / "bin/ringlog"], capture_output=True, text=True)
    assert "statically linked" in ldd.stdout or "not a dynamic executable" in ldd.stderr, ldd
    command = ["chroot", str(empty_root), "/bin/ringlog", "serve", "--data-dir", "/data"]
    broker = Alone(command, tmp_path / "log")
    try:
        broker.wait_serving().round_trip("empty")
        assert broker.stop() == 0, broker.text()
    finally:
        broker.discard()


def test_it_finds_names(empty_root, tmp_path):
    (empty_root / "etc").mkdir()
    (empty_root / "etc/hosts").write_text("127.0.0.1 broker.example.com\n")
    command = ["chroot", str(empty_root), "/bin/ringlog", "--data-dir", "/data", "--kafka-addr", "broker.example.com:9092"]
    broker = Alone(command, tmp_path / "log")
    try:
        broker.wait_serving()
        assert broker.stop() == 0, broker.text()
    finally:
        broker.discard()
