"""The documents' commands print what the documents say.

`RINGLOG_UPDATE_DOCS=1` writes what they print into the documents instead.
"""

import os
from pathlib import Path

import pytest

from harness import docs, paths
from harness.cluster import MARKER, Cluster, host_port
from harness.topics import delete_topic

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


@pytest.mark.parametrize("document", ["README.md", "docs/upgrade.md", "docs/backup.md"])
def test_documents_that_start_their_own_brokers(document, tmp_path):
    """They use the default ports, so nothing else may listen there."""
    docs.run(paths.REPO / document, folder(tmp_path), {}, UPDATE)


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
