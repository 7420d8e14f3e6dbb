"""Rules and dashboards that come with the broker: they load, name what exists, and every alert has its place in the runbook."""

import json
import re
import subprocess

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from harness import metrics, paths
from harness.broker import new_broker
from harness.promql import metric_names

pytestmark = [
    pytest.mark.metrics,
    pytest.mark.skipif(paths.AGAINST != "ringlog", reason="Kafka's brokers have other metrics"),
]
PROMETHEUS = paths.REPO / "deploy" / "prometheus"
DASHBOARDS = sorted((paths.REPO / "deploy" / "grafana").glob("*.json"))
# What Prometheus makes of a scrape by itself.
OF_PROMETHEUS = {"up"}
PANELS = {"row", "stat", "timeseries"}  # of Grafana itself
COLUMNS = 24
# Grafana writes them into what it exports, and they are not in the schema that it publishes.
BEYOND_SCHEMA = {".id", ".annotations.list.builtIn", ".templating.list.definition"}


def rules() -> list[dict]:
    loaded = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return [rule for group in loaded["groups"] for rule in group["rules"]]


def alerts() -> list[dict]:
    return [rule for rule in rules() if "alert" in rule]


def dashboard(path) -> dict:
    return json.loads(path.read_text())


def expressions(board: dict) -> list[str]:
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    variables = [one["query"]["query"] for one in board["templating"]["list"] if one["type"] == "query"]
    return queries + variables


def promtool(*args):
    done = subprocess.run([paths.PROMTOOL, *args], cwd=PROMETHEUS, text=True, capture_output=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules_and_the_configuration():
    said = promtool("check", "rules", "rules.yml")
    assert f"{len(rules())} rules found" in said
    promtool("check", "config", "prometheus.yml")


def test_alerts_fire_when_they_should_and_not_else():
    said = promtool("test", "rules", "rules_test.yml")
    assert "SUCCESS" in said and "FAILED" not in said


@pytest.fixture(scope="module")
def known() -> set[str]:
    """Names that a real broker's page has, and those that the rules record."""
    broker = new_broker("alerts")
    try:
        names = metrics.scrape(broker.start()).names()
    finally:
        broker.discard()
    return names | OF_PROMETHEUS | {rule["record"] for rule in rules() if "record" in rule}


def test_rules_name_only_what_exists(known):
    named = {name for rule in rules() for name in metric_names(rule["expr"])}
    assert named - known == set()
    assert len(named) > 20


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_name_only_what_exists(known, path):
    named = {name for expr in expressions(dashboard(path)) for name in metric_names(expr)}
    assert named - known == set()
    assert len(named) > 20


def test_every_alert_is_seen_to_fire():
    tests = yaml.safe_load((PROMETHEUS / "rules_test.yml").read_text())["tests"]
    seen = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")}
    assert seen == {alert["alert"] for alert in alerts()}


def test_every_alert_says_what_it_is_and_has_its_place_in_the_runbook():
    text = (paths.REPO / "docs" / "runbook.md").read_text()
    sections = re.split(r"^## (\w+)\n", text, flags=re.MULTILINE)
    runbook = dict(zip(sections[1::2], sections[2::2]))
    assert set(runbook) == {alert["alert"] for alert in alerts()}
    for alert in alerts():
        name, annotations = alert["alert"], alert["annotations"]
        assert alert["labels"]["severity"] in ("critical", "warning"), name
        assert annotations["summary"] and annotations["description"], name
        assert annotations["runbook_url"] == f"docs/runbook.md#{name.lower()}", name
        for part in ("**Meaning.**", "**Look.**", "**Do.**"):
            assert part in runbook[name], f"{name} lacks {part}"
    for target in re.findall(r"\]\(#(\w+)\)", text):
        assert target in {name.lower() for name in runbook}, f"the runbook points at #{target}"


def test_metrics_that_the_runbook_names_exist(known):
    text = (paths.REPO / "docs" / "runbook.md").read_text()
    named = set(re.findall(r"(?<![\w:])((?:ringlog|process)_[a-z_]+[a-z])(?![\w:*])", text))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known}
    assert named - known - families == set()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_whole(path):
    """As Grafana imports them: with a data source to choose, own ids and places, units, and nothing of a plugin."""
    board = dashboard(path)
    assert board["uid"] == path.stem and board["title"].startswith("Ringlog") and board["schemaVersion"] >= 36
    assert board["id"] is None, "Grafana gives it"
    variables = {one["name"]: one for one in board["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource" and variables["datasource"]["query"] == "prometheus"
    ids, taken = set(), set()
    for panel in board["panels"]:
        title, place = panel["title"], panel["gridPos"]
        assert panel["type"] in PANELS, title
        assert panel["id"] not in ids, title
        ids.add(panel["id"])
        assert place["x"] + place["w"] <= COLUMNS, title
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken, f"{title} overlaps"
        taken |= cells
        if panel["type"] == "row":
            continue
        assert panel["datasource"]["uid"] == "${datasource}", title
        assert panel["fieldConfig"]["defaults"]["unit"], title
        assert panel["targets"], title
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]), title
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}", title
    for expr in expressions(board):
        for used in re.findall(r"\$\{?(\w+)", expr):
            assert used in variables or used.startswith("__"), f"{used} in {expr}"


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_promtool_takes_the_dashboards_expressions(path, tmp_path):
    replaced = [
        re.sub(r"\$\{?\w+\}?", "x", expr.replace("$__rate_interval", "5m"))
        for expr in expressions(dashboard(path))
        if not expr.startswith("label_values")
    ]
    groups = [{"name": "all", "rules": [{"record": f"r:{n}:x", "expr": expr} for n, expr in enumerate(replaced)]}]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": groups}))
    promtool("check", "rules", "--lint=none", str(file))


@pytest.mark.parametrize(
    "expr, names",
    [
        ("up{job=~\"a.*\"} == 0", {"up"}),
        ("max by (job) (ringlog_a) > 0 and on (instance) ringlog_b", {"ringlog_a", "ringlog_b"}),
        ("histogram_quantile(0.99, sum by (api, le) (rate(x_bucket{le=\"5\"}[5m])))", {"x_bucket"}),
        ("a:b:c / on(job) group_left(x) d offset 5m", {"a:b:c", "d"}),
        ('label_values(ringlog_build_info{job="$job"}, instance)', {"ringlog_build_info"}),
        ("predict_linear(free[6h], 24 * 3600) < 0 or 1e9 > 1e-3", {"free"}),
        ('rate(a{b="c(d) and e"}[$__rate_interval])', {"a"}),
        ("topk(5, m) unless vector(1)", {"m"}),
    ],
)
def test_names_are_found_in_expressions(expr, names):
    assert metric_names(expr) == names


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_are_of_grafanas_schema(path):
    """Read into Grafana's own types and written again, nothing is gone and nothing else."""
    register_default_plugins()
    board = dashboard(path)
    again = json.loads(json.dumps(Dashboard.from_json(board), cls=JSONEncoder))
    assert set(differences(board, again)) - BEYOND_SCHEMA == set()


def differences(one, other, place="") -> list[str]:
    """Where what `one` has is not in `other`."""
    if isinstance(one, dict) and isinstance(other, dict):
        gone = [f"{place}.{key}" for key in one if key not in other]
        return gone + [d for key in one if key in other for d in differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        return [d for a, b in zip(one, other) for d in differences(a, b, place)]
    return [] if one == other else [place]
