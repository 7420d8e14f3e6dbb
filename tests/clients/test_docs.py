"""The documents' commands print what the documents say.

`RINGLOG_UPDATE_DOCS=1` writes what they print into the documents instead.
"""

import json
import os
import re
import shlex
from pathlib import Path

import pytest

from harness import docs, paths
from harness.cluster import MARKER, Cluster, host_port
from harness.machines import Machines
from harness.topics import delete_topic
from harness.wait import PATIENCE_S

pytestmark = [
    pytest.mark.admin,
    pytest.mark.cluster,
    pytest.mark.timeout(600),
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="documents of Ringlog"),
]
UPDATE = os.environ.get("RINGLOG_UPDATE_DOCS") == "1"


def test_docs_cli(own_cluster, tmp_path):
    """docs/cli.md, against a fresh cluster of three."""
    # So that any broker can be drained.
    cluster = own_cluster("docs-cli", {"offsets.topic.replication.factor": "2"})
    delete_topic(cluster.bootstrap, MARKER)
    docs.run(paths.REPO / "docs" / "cli.md", folder(tmp_path), asks(cluster), UPDATE)


@pytest.mark.parametrize("document", ["README.md", "docs/upgrade.md", "docs/backup.md", "docs/runbook.md"])
def test_documents_that_start_their_own_brokers(document, tmp_path):
    """They use the default ports, so nothing else may listen there."""
    docs.run(paths.REPO / document, folder(tmp_path), {}, UPDATE)


ADDRESSES = {**{f"broker-{n}": f"10.20.0.{n}" for n in range(1, 5)}, "monitor": "10.20.0.10", "client": "10.20.0.20"}


@pytest.fixture
def machines(tmp_path):
    """Those of docs/cluster.md."""
    try:
        with Machines(folder(tmp_path), ADDRESSES, "example.com") as made:
            yield made
    except OSError as e:
        pytest.skip(f"no machines of namespaces: {e}")


def test_docs_cluster(machines):
    """docs/cluster.md, each command on the machine that its prompt names."""
    shells = machines.shells()
    by_prompt = {name: [shell] for name, shell in shells.items()}
    by_prompt["brokers"] = [shells[f"broker-{n}"] for n in (1, 2, 3)]
    docs.run_on(by_prompt, paths.REPO / "docs" / "cluster.md", UPDATE)


def test_containers_with_the_documented_variables_form_a_cluster(machines):
    """Without an engine: the program gets what the image sets and, of each machine, what deployment.md has in ringlog.env."""
    containerfile = (paths.REPO / "deploy/container/Containerfile").read_text()
    image = re.findall(r"\b(RINGLOG_[A-Z_]+=\S+)", containerfile.partition("\nENV ")[2])
    assert image, "the image sets variables"
    documented = re.search(r"```ini\n(RINGLOG_NODE_ID=2\n.*?)```", (paths.REPO / "docs/deployment.md").read_text(), re.DOTALL)[1]
    shells = machines.shells()
    try:
        for n in (1, 2, 3):
            other = {"2": str(n), str(n): "2"}  # whom broker 2 is to join, this one is as well
            own = re.sub(r"((?:NODE_ID=|broker-|10\.20\.0\.))(\d)", lambda at: at[1] + other.get(at[2], at[2]), documented)
            if n == 1:
                own = re.sub(r"^RINGLOG_JOIN=.*\n", "", own, flags=re.MULTILINE)
            # The volume has another place here.
            variables = [*image, *own.splitlines(), "RINGLOG_DATA_DIR=/var/lib/ringlog"]
            typed(shells[f"broker-{n}"], f"export {shlex.join(variables)}")
            typed(shells[f"broker-{n}"], "ringlog serve > ringlog.log 2>&1 &")
            ready = f"until curl --silent --fail http://10.20.0.{n}:9094/health/ready; do sleep 0.1; done"
            typed(shells["client"], f"timeout {PATIENCE_S:.0f} bash -c {shlex.quote(ready)}")
        for n in (1, 2, 3):
            typed(shells[f"broker-{n}"], healthy())
        brokers = typed(shells["client"], "ringlog cluster brokers --bootstrap-server broker-3.example.com:9092")
        assert [line.split()[:3] for line in brokers[1:]] == [[f"{n}", "alive", f"broker-{n}.example.com:9092"] for n in (1, 2, 3)]
    finally:
        for shell in shells.values():
            shell.close()


def healthy() -> str:
    """The image's health check, as a command."""
    told = re.search(r"^HEALTHCHECK .*\\\n\s*CMD (\[.*\])$", (paths.REPO / "deploy/container/Containerfile").read_text(), re.MULTILINE)[1]
    program, *arguments = json.loads(told)
    return shlex.join([Path(program).name, *arguments])


def typed(shell: docs.Shell, command: str) -> list[str]:
    status, printed = shell.run(command)
    assert status == 0, f"{command}: {status}\n" + "\n".join(printed)
    return printed


def folder(tmp_path) -> Path:
    made = tmp_path / "ringlog-docs-"
    made.mkdir()
    return made


def asks(cluster: Cluster) -> dict[str, str]:
    """What makes `ringlog` find the cluster without flags."""
    return {
        "RINGLOG_BOOTSTRAP_SERVER": cluster[1].bootstrap,
        "RINGLOG_INTERNAL_ADDR": host_port(cluster[1].place.internal),
        "DATA_DIR": str(cluster[1].data_dir),
    }


DOCUMENT = """
```console
$ printf 'a\\nb\\n'; echo c >&2
a
b
c
$ X=2
```

  ```console fails
  $ echo $X; \\
  > false
  2
  ```

```console any
$ date
```

```console norun
$ rm -rf /
```

```console
$ seq 5
1
…
5
$ echo "  id 1f3bcea1-df57-40b6-aa28-fddf321c5599, 3.5 MiB"
id 00000000-0000-0000-0000-000000000000, 12 bytes
$ echo one two three
one … three
```
"""


def test_what_a_document_says_is_compared(tmp_path):
    document = tmp_path / "x.md"
    document.write_text(DOCUMENT)
    docs.run(document, folder(tmp_path), {})
    for right, wrong, line in (
        ("\nb\nc", "\nb\nd", 3),
        ("```console fails", "```console", 11),
        ("$ X=2", "$ X=2\nx", 7),
        ("5\n$ echo", "6\n$ echo", 25),
        ("12 bytes", "12 rows", 29),
        ("one … three", "one … four", 31),
        ("a\nb\nc", "a\nb", 3),
    ):
        assert right in DOCUMENT
        document.write_text(DOCUMENT.replace(right, wrong, 1))
        with pytest.raises(AssertionError, match=rf"x\.md:{line}: "):
            docs.run(document, tmp_path / "ringlog-docs-", {})


def test_a_prompt_says_on_which_machine(tmp_path):
    document = tmp_path / "x.md"
    text = """
```console
all# X=$((X + 1))
a# echo "a, $X"
a, 1
b$ cat <<'END'
> first
>
> last
> END
first

last
all$ echo $X $(basename $PWD)
1 …
$ echo here
here
```
"""
    document.write_text(text)

    def machines() -> dict[str | None, list[docs.Shell]]:
        a, b, here = (docs.Shell(made, {}) for made in (tmp_path / "a", tmp_path / "b", tmp_path))
        return {"a": [a], "b": [b], "all": [a, b], None: [here]}

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    docs.run_on(machines(), document)
    for right, wrong, why in (
        ("1 …", "1 a", r"x\.md:14: .*\n.*printed\n1 b\n"),
        ("b$ cat", "c$ cat", r"x\.md:6: (?s:.*)is to run on c"),
    ):
        assert right in text
        document.write_text(text.replace(right, wrong, 1))
        with pytest.raises(AssertionError, match=why):
            docs.run_on(machines(), document)


def test_a_document_is_brought_up_to_date(tmp_path):
    document = tmp_path / "x.md"
    document.write_text(DOCUMENT.replace("\nb\nc", "\nold").replace("one … three", "four"))
    with pytest.raises(AssertionError):
        docs.run(document, folder(tmp_path), {}, update=True)
    assert document.read_text() == DOCUMENT.replace("one … three", "one two three")
    docs.run(document, tmp_path / "ringlog-docs-", {})


def test_a_console_that_is_no_console_is_named():
    for text, why in (
        ("```console\nls\n```", "begins with a command"),
        ("```console\n$ ls\n", "not closed"),
        ("```console often\n$ ls\n```", "no marks"),
    ):
        with pytest.raises(AssertionError, match=why):
            docs.commands(text)
