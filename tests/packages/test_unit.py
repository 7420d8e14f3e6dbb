"""The unit and its friends, read by systemd's own tools."""

import re
import subprocess

import pytest
from conftest import need

from harness.paths import REPO

SYSTEMD = REPO / "deploy" / "systemd"
UNIT = SYSTEMD / "ringlog.service"
DOCUMENT = REPO / "docs" / "deployment.md"


def run(*command) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture
def root(tmp_path):
    """A machine of files, with nobody on it."""
    (tmp_path / "etc").mkdir()
    for name in ("passwd", "group"):
        (tmp_path / "etc" / name).write_text("root:x:0:0:root:/root:/bin/sh\n" if name == "passwd" else "root:x:0:\n")
    for name, directory in (("sysusers", "sysusers.d"), ("tmpfiles", "tmpfiles.d")):
        place = tmp_path / "usr/lib" / directory
        place.mkdir(parents=True)
        (place / "ringlog.conf").write_bytes((SYSTEMD / f"ringlog.{name}").read_bytes())
    return tmp_path


def test_the_unit_is_sound(tmp_path):
    need("systemd-analyze")
    unit = tmp_path / "ringlog.service"
    # The program is not installed here.
    unit.write_text(UNIT.read_text().replace("/usr/bin/ringlog", "/bin/true"))
    assert run("systemd-analyze", "verify", "--man=no", "--recursive-errors=no", unit) == ""


def test_the_exposure_is_no_more_than_is_documented():
    need("systemd-analyze")
    output = run("systemd-analyze", "security", "--offline=yes", "--no-pager", UNIT)
    found = float(re.search(r"exposure level for ringlog.service: ([0-9.]+)", output)[1])
    documented = float(re.search(r"exposure level of ([0-9.]+)", DOCUMENT.read_text())[1])
    assert found <= documented, output


def test_the_user_is_made(root):
    need("systemd-sysusers")
    run("systemd-sysusers", f"--root={root}", "ringlog.conf")
    user = next(line for line in (root / "etc/passwd").read_text().splitlines() if line.startswith("ringlog:"))
    assert user.endswith(":Ringlog broker:/var/lib/ringlog:/usr/sbin/nologin"), user
    uid, gid = user.split(":")[2:4]
    assert f"ringlog:x:{gid}:" in (root / "etc/group").read_text()
    run("systemd-tmpfiles", f"--root={root}", "--create", "ringlog.conf")
    data = (root / "var/lib/ringlog").stat()
    assert (data.st_uid, data.st_gid, data.st_mode & 0o7777) == (int(uid), int(gid), 0o750)


@pytest.mark.parametrize("name", ["ringlog", "ringlog-bench"])
def test_lintian_has_nothing_to_say(deb, name):
    need("lintian")
    output = run("lintian", "--fail-on=error,warning", "--tag-display-limit=0", deb(1, name))
    assert not re.search(r"^[EW]:", output, re.MULTILINE), output
