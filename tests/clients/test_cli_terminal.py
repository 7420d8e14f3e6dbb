"""What `ringlog` does where somebody sits at a terminal, and does not do in pipes; completion in a real shell; manual pages."""

import itertools
import os
import re
import shutil
import socket
import subprocess
import threading
import time

import pytest

from harness import paths
from harness.cli import Asks, Terminal, environment, ringlog
from harness.cluster import MARKER, host_port
from harness.topics import delete_topic
from harness.wait import PATIENCE_S, wait_until

pytestmark = pytest.mark.admin
BOLD = "\x1b[1m"
PROGRESS_AFTER_S = 1.0  # what takes no longer shows none


class Silent:
    """A port that takes connections and says nothing."""

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.held = []
        threading.Thread(target=self._hold, daemon=True).start()
        return "127.0.0.1:%d" % self.listener.getsockname()[1]

    def _hold(self):
        try:
            while True:
                self.held.append(self.listener.accept()[0])
        except OSError:
            pass

    def __exit__(self, *_):
        self.listener.close()
        for held in self.held:
            held.close()


def unused_address() -> str:
    with socket.create_server(("127.0.0.1", 0)) as s:
        return "127.0.0.1:%d" % s.getsockname()[1]


def test_headers_are_bold_on_a_terminal_alone(broker, topic):
    name = topic()
    for env, bold in (({"CLICOLOR": "1"}, True), ({"NO_COLOR": "1"}, False)):
        terminal = Terminal("topic", "list", "--bootstrap-server", broker.bootstrap, env=env)
        assert terminal.end() == 0
        assert (BOLD in terminal.text) == bold and name in terminal.text
    plain = Asks(broker.bootstrap)("topic", "list", env={"NO_COLOR": ""})
    assert "\x1b" not in plain


def test_lines_end_where_the_terminal_does_and_in_pipes_they_do_not(broker, topic):
    name = topic()
    terminal = Terminal("topic", "list", "--bootstrap-server", broker.bootstrap, columns=20)
    assert terminal.end() == 0
    lines = terminal.text.replace("\r", "").splitlines()
    assert all(len(line) <= 20 for line in lines) and any(line.endswith("…") for line in lines), lines
    plain = Asks(broker.bootstrap)("topic", "list")
    assert name in plain and "…" not in plain


def test_deletion_is_asked_about(broker, topic):
    name, asks = topic(3), Asks(broker.bootstrap)
    for answer, status in (("n", 1), ("", 1), ("yes", 0)):
        terminal = Terminal("topic", "delete", name, "--bootstrap-server", broker.bootstrap)
        terminal.read_until("[y/N]")
        assert f"{name}: 3 partition(s)" in terminal.text
        terminal.type(f"{answer}\n")
        assert terminal.end() == status, terminal.text
        assert ("nothing was deleted" in terminal.text) == (status == 1)
        assert (name in asks("topic", "list")) == (status == 1)


def test_progress_is_shown_on_a_terminal_once_something_takes_long():
    with Silent() as address:
        args = ("topic", "create", "slow", "--bootstrap-server", address, "--timeout", "3")
        terminal = Terminal(*args)
        terminal.read_until("creating slow")
        assert terminal.end() == 1 and "no answer to ApiVersions" in terminal.text
        done = ringlog(*args)
        assert done.returncode == 1 and done.stderr.startswith("error: ") and "creating" not in done.stderr


@pytest.mark.parametrize(
    "command",
    ["topic list", "topic describe", "group list", "group describe g", "config describe --topic t", "cluster brokers"],
)
def test_whatever_asks_brokers_shows_that_it_waits(command):
    with Silent() as address:
        terminal = Terminal(*command.split(), "--bootstrap-server", address, "--timeout", "3")
        terminal.read_until("asking the brokers")
        assert terminal.end() == 1, terminal.text


def test_what_is_quick_shows_no_progress(broker, topic_name):
    for attempt in itertools.count():  # until it was quick, which a busy machine may not be
        name, began = f"{topic_name}-{attempt}", time.monotonic()
        terminal = Terminal("topic", "create", name, "--bootstrap-server", broker.bootstrap, "--partitions", "1")
        assert terminal.end() == 0
        if time.monotonic() - began < PROGRESS_AFTER_S:
            break
    assert terminal.text.replace("\r", "") == f"topic '{name}' was created with 1 partition(s) of 1 replica(s)\n"


@pytest.mark.cluster
@pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka has no command that drains a broker")
def test_a_drain_shows_how_far_it_is(own_cluster):
    """A bar on a terminal, and now and then a line elsewhere; Ctrl-C ends either, and takes the throttle away."""
    cluster = own_cluster("drain-bar", {"offsets.topic.replication.factor": "1"})
    cluster.create_topic("moves", {0: [1, 2]})
    cluster.settle()
    Asks(cluster.bootstrap)("topic", "write", "moves", stdin=f"{'x' * 1000}\n" * 4000)
    args = ("cluster", "drain", "1", "--throttle", "65536", "--internal-addr", host_port(cluster[2].place.internal))
    delete_topic(cluster.bootstrap, MARKER)
    terminal = Terminal(*args)
    terminal.read_until("0 of 1 partition(s) done, 1 moving")
    terminal.read_until("MiB left")
    terminal.type("\x03")
    assert terminal.end() == 1 and "stopped: 0 partition(s) are done, 1 are moving" in terminal.text
    assert "█" in terminal.text or "░" in terminal.text
    done = ringlog("cluster", "drain", "1", "--cancel", "--json", *args[-2:])
    assert (done.returncode, done.stdout) == (0, '{"cancelled":1,"not_cancelled":0}\n'), done.stderr


@pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Ringlog's start")
def test_a_start_that_takes_long_shows_what_it_waits_for(tmp_path):
    """On a terminal, below the log lines; a cluster that cannot be reached keeps it waiting."""
    address = unused_address()
    args = ("serve", "--data-dir", str(tmp_path / "data"), "--node-id", "2", "--join", address, "--shards", "1")
    args += tuple(f"--{kind}-addr=127.0.0.1:0" for kind in ("kafka", "internal", "http"))
    terminal = Terminal(*args)
    terminal.read_until("joining: waiting for the controller")
    terminal.type("\x03")
    terminal.end()
    # The bar was taken away for the log line.
    assert re.search(r"\x1b\[2K20\d\d-\S+ +INFO [^\n]*stopping before the cluster was found", terminal.text), terminal.text
    log = (tmp_path / "log").open("w+")
    process = subprocess.Popen([str(paths.ringlog_binary()), *args], stderr=log, env=environment())
    wait_until(lambda: (tmp_path / "log").read_text(), "something to be logged")
    process.terminate()
    assert process.wait(PATIENCE_S) is not None and "joining: waiting" not in (tmp_path / "log").read_text()
    log.close()


@pytest.mark.skipif(paths.AGAINST != "ringlog", reason="of Ringlog's ports")
def test_a_wrong_port_is_named_for_what_it_is(own_broker):
    broker = own_broker()
    ports = {}
    for line in broker.log_text().splitlines():
        for kind in ("http listener bound", "ringlog starts"):
            if kind in line:
                found = line.replace('"', "").replace("internal=", "addr=").split("addr=")[1].split()[0]
                ports[kind.split()[0]] = found
    http, internal = ports["http"], ports["ringlog"]
    for wrong, words in ((http, "HTTP"), (internal, "port for other brokers")):
        for command in (("topic", "list"), ("group", "list"), ("config", "describe", "--broker", "1")):
            said = Asks(wrong).refused(*command)
            assert words in said and "--bootstrap-server" in said and "RINGLOG_BOOTSTRAP_SERVER" in said, said
    for wrong, words in ((http, "HTTP"), (broker.bootstrap, "port for Kafka clients")):
        for command in (("cluster", "status"), ("partition", "list")):
            done = ringlog(*command, "--internal-addr", wrong)
            assert done.returncode == 1 and words in done.stderr and "--internal-addr" in done.stderr, done.stderr
    nobody = unused_address()
    assert "is the broker running? --bootstrap-server or" in Asks(nobody).refused("topic", "list")
    done = ringlog("cluster", "status", "--internal-addr", nobody)
    assert done.returncode == 1 and "is the broker running? --internal-addr or" in done.stderr


def test_completion_works_in_bash(broker, topic, tmp_path):
    """Of commands, flags, values, and names that the cluster knows, in a bash that has loaded the script."""
    script, name = tmp_path / "ringlog.bash", topic()
    script.write_text(ringlog("completion", "bash").stdout)
    subprocess.run(["bash", "-n", str(script)], check=True)

    def completed(*words: str, bootstrap=broker.bootstrap) -> list[str]:
        program = f"""
            source {script}
            complete -p ringlog | grep -q _clap_complete_ringlog || exit 9
            COMP_WORDS=({" ".join(f"'{word}'" for word in words)})
            COMP_CWORD={len(words) - 1}
            COMP_TYPE=9
            _clap_complete_ringlog ringlog "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        env = environment({"PATH": f"{paths.ringlog_binary().parent}:{os.environ['PATH']}"})
        env["RINGLOG_BOOTSTRAP_SERVER"] = bootstrap
        done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=PATIENCE_S, env=env)
        assert done.returncode == 0 and not done.stderr, done.stderr
        return done.stdout.split()

    assert completed("ringlog", "to") == ["topic"]
    assert set(completed("ringlog", "topic", "")) >= {"list", "create", "describe", "delete", "read", "write"}
    assert set(completed("ringlog", "topic", "create", "--repl")) == {"--replication-factor", "--replica-assignment"}
    assert "hex" in completed("ringlog", "topic", "read", "--format", "")
    assert set(completed("ringlog", "completion", "")) >= {"bash", "zsh", "fish"}
    assert completed("ringlog", "topic", "read", name[:-1]) == [name]
    assert completed("ringlog", "config", "describe", "--topic", name[:-1]) == [name]
    assert completed("ringlog", "config", "set", "--topic", name, "retention.m") == ["retention.ms="]
    assert "log.retention.ms=" in completed("ringlog", "config", "set", "--broker", "1", "log.ret")
    nobody = unused_address()
    assert completed("ringlog", "topic", "read", name[:-1], bootstrap=nobody) == []
    line = ("ringlog", "topic", "--bootstrap-server", broker.bootstrap, "read", name[:-1])
    assert completed(*line, bootstrap=nobody) == [name]


# Completes $1, words of a command line, by the script $0; zsh's own part of it, which needs a terminal, prints what it is given.
COMPLETES = {
    "zsh": """
        autoload -Uz compinit && compinit -u -D
        _describe() { for it in "$@"; do case $it in dirs|other) print -rl -- ${(P)it};; esac; done }
        source $0
        words=(${(z)1} "") CURRENT=$(( ${#${(z)1}} + 1 ))
        [[ $1 == *" " ]] || { words=(${(z)1}); CURRENT=${#words} }
        _clap_dynamic_completer_ringlog
    """,
    "fish": "source $argv[1]; complete --do-complete $argv[2]",
}


@pytest.mark.parametrize("shell", COMPLETES)
def test_completion_works_in(shell, broker, topic, tmp_path):
    script, name = tmp_path / f"ringlog.{shell}", topic()
    script.write_text(ringlog("completion", shell).stdout)
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    env = environment({"PATH": f"{paths.ringlog_binary().parent}:{os.environ['PATH']}", "HOME": str(tmp_path)})

    def completed(line: str) -> set[str]:
        done = subprocess.run(
            [shell, "-c", COMPLETES[shell], str(script), line], capture_output=True, text=True, timeout=PATIENCE_S,
            env={**env, "RINGLOG_BOOTSTRAP_SERVER": broker.bootstrap},
        )  # fmt: skip
        assert done.returncode == 0 and not done.stderr, done.stderr
        return {re.split("[:\t]", one)[0] for one in done.stdout.splitlines()}

    assert completed("ringlog to") == {"topic"}
    assert completed("ringlog topic ") >= {"list", "create", "describe", "delete", "read", "write"}
    assert completed(f"ringlog topic read {name[:-1]}") == {name}


def test_manual_pages_are_clean(tmp_path):
    done = ringlog("man", "--out", str(tmp_path / "man"))
    assert done.returncode == 0, done.stderr
    pages = sorted((tmp_path / "man").iterdir())
    assert len(pages) > 30 and {"ringlog.1", "ringlog-topic-create.1", "ringlog-serve.1", "ringlog.toml.5"} <= {page.name for page in pages}
    if not shutil.which("man"):
        pytest.skip("man is not installed")
    for page in pages:
        done = subprocess.run(
            ["man", "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", str(page)],
            capture_output=True, text=True, env={**environment(), "MANROFFSEQ": "", "MANWIDTH": "100", "LC_ALL": "C.UTF-8"},
        )  # fmt: skip
        assert done.returncode == 0 and not done.stderr, (page.name, done.stderr)
    shown = subprocess.run(["man", "-l", str(pages[0])], capture_output=True, text=True, env=environment()).stdout
    assert "NAME" in shown and "ringlog" in shown


def test_every_command_says_what_it_is_for():
    """Help to the last subcommand, and status 2 for a command line that is wrong."""

    def commands(*path: str):
        done = ringlog(*path, "--help")
        assert done.returncode == 0 and done.stdout.strip(), path
        head, _, listed = done.stdout.partition("\nCommands:\n")
        for line in listed.partition("\n\n")[0].splitlines():
            name = line.split()[0] if line.startswith("  ") and not line.startswith("   ") else None
            if name and name != "help":
                yield (*path, name)
                yield from commands(*path, name)

    found = list(commands())
    assert ("topic", "add-partitions") in found and ("wal", "dump") in found and len(found) > 30
    for path in found:
        done = ringlog(*path, "--no-such-flag")
        assert done.returncode == 2 and "--help" in done.stderr, path
