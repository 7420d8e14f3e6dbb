"""Scripts of the documents that are no consoles, since they take more than one terminal or machine: each is run as it stands.

Programs that would change this machine or another are stand-ins: `cargo run --release` runs the binary that is tested, and `ssh`
restarts a broker of the test's cluster, whatever it is to run there (`scp` does nothing).
"""

import http.server
import json
import os
import re
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from harness import paths
from harness.cli import Asks, environment
from harness.cluster import Cluster, host_port
from harness.metrics import http_address
from harness.service import health
from harness.wait import PATIENCE_S, wait_until

pytestmark = [
    pytest.mark.admin,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="documents of Ringlog"),
]


def script(document: str, having: str) -> str:
    """The first of the document's scripts that has this in it."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (paths.REPO / document).read_text(), re.MULTILINE | re.DOTALL)
    return next(block for block in blocks if having in block)


def stand_in(folder: Path, name: str, text: str):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/bash\n{text}\n")
    (folder / name).chmod(0o755)


def env(stand_ins: Path, **more: str) -> dict[str, str]:
    return environment({"PATH": f"{stand_ins}:{paths.ringlog_binary().parent}:{os.environ['PATH']}", **more})


def test_the_two_commands_of_the_readme(tmp_path):
    """In two terminals, in an empty folder; at the default ports, so nothing else may listen there."""
    first, second = script("README.md", "kcat").splitlines()
    stand_in(tmp_path / "bin", "cargo", f'[ "$*" = "run --release" ] && exec {paths.ringlog_binary()}')
    own = env(tmp_path / "bin")
    log = tmp_path / "log"
    with log.open("w") as out:
        broker = subprocess.Popen(["bash", "-c", f"exec {first}"], cwd=tmp_path, env=own, stdout=out, stderr=out)
    try:
        wait_until(lambda: "kafka listener bound" in log.read_text() or broker.poll() is not None, "the broker to listen")
        assert broker.poll() is None, log.read_text()
        subprocess.run(["bash", "-euc", second], cwd=tmp_path, env=own, check=True, timeout=PATIENCE_S)
        read = Asks("127.0.0.1:9092")("topic", "read", "greetings", "--from", "earliest", "--max", "1")
        assert read.rstrip().endswith("hello"), read
        assert (tmp_path / "ringlog-data").is_dir(), "where the document says"
    finally:
        broker.terminate()
        assert broker.wait(PATIENCE_S) == 0


class Restarts:
    """What `ssh` asks for by HTTP: that broker N is restarted, while the other brokers of the cluster run."""

    def __init__(self, cluster: Cluster):
        self.cluster, self.asked = cluster, []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(handler):
                self.asked.append(int(handler.path.strip("/")))
                assert cluster[self.asked[-1]].stop() == 0
                cluster.start_nodes(self.asked[-1])
                handler.send_response(200)
                handler.end_headers()

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    def __enter__(self) -> "Restarts":
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize("document, order", [("docs/upgrade.md", [1, 2, 3]), ("docs/health.md", [2])])
def test_one_broker_after_the_other_is_restarted_when_that_is_safe(own_cluster, tmp_path, document, order):
    """Each is asked under the name that the document has, at its own address."""
    cluster = own_cluster("docs-scripts", {"offsets.topic.replication.factor": "3"})
    cluster.create_topic("safe", {0: [1, 2, 3], 1: [2, 3, 1], 2: [3, 1, 2]}, {"min.insync.replicas": "2"})
    addresses = {n: host_port(cluster[n].place.http) for n in (1, 2, 3)}
    (tmp_path / ".curlrc").write_text("\n".join(f'connect-to = "broker-{n}:9094:{at}"' for n, at in addresses.items()))

    def run():
        return subprocess.run(
            ["bash", "-euc", script(document, "ssh")], env=env(tmp_path / "bin", CURL_HOME=str(tmp_path)),
            capture_output=True, text=True, timeout=5 * PATIENCE_S,
        )  # fmt: skip

    with Restarts(cluster) as restarts:
        own = restarts.server.server_address
        stand_in(tmp_path / "bin", "scp", "true")
        stand_in(tmp_path / "bin", "ssh", f'curl -sf http://{own[0]}:{own[1]}/${{1//[a-z-]/}}')
        done = run()
        assert done.returncode == 0, (done.stdout, done.stderr)
        assert restarts.asked == order, done.stdout
        for n in order:
            assert health(addresses[n], "ready").status == 200
        if len(order) > 1:
            for failing in ("ssh", "scp"):
                stand_in(tmp_path / "bin", failing, f"echo {failing} for $* >&2; exit 1")
                assert run().stderr.count(f"{failing} for") == 1, "the other brokers are left alone"
            assert restarts.asked == order


def test_why_a_broker_may_not_be_stopped_is_told(broker):
    """Of a single broker, which is never safe to restart."""
    pipeline = re.search(r"\| (sed '.*?');", script("docs/upgrade.md", "ssh"))[1]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://{http_address(broker)}/health/safe-to-restart", timeout=PATIENCE_S)
    page = refused.value.read()
    done = subprocess.run(["bash", "-euc", pipeline], input=page, capture_output=True, check=True)
    assert done.stdout.decode().strip() == json.loads(page)["reason"]
