"""What a broker's `/metrics` says, read by Prometheus' own Python parsers."""

import re
import urllib.request
from dataclasses import dataclass

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from .broker import Broker
from .wait import PATIENCE_S

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
BOUND = re.compile(r"http listener bound addr=\"?(\S+?)\"?$", re.MULTILINE)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")
# Names of a histogram's and a counter's samples, by what is behind the family's name.
SUFFIXES = {"histogram": ("_bucket", "_sum", "_count"), "counter": ("_total",), "gauge": ("",)}


@dataclass(frozen=True)
class Page:
    """One scrape."""

    text: str
    kinds: dict[str, str]  # family, without a counter's suffix -> kind
    samples: dict[tuple[str, frozenset], float]  # name and labels -> number

    def names(self) -> set[str]:
        """Names that a sample has, or would have."""
        return {name + suffix for name, kind in self.kinds.items() for suffix in SUFFIXES[kind]}

    def of(self, name: str, **labels) -> dict[frozenset, float]:
        """Samples of this name that have these labels, and maybe more."""
        wanted = set(labels.items())
        return {labels: n for (found, labels), n in self.samples.items() if found == name and wanted <= labels}

    def sum(self, name: str, **labels) -> float:
        return sum(self.of(name, **labels).values())

    def value(self, name: str, **labels) -> float:
        """The one that has these labels."""
        (value,) = self.of(name, **labels).values()
        return value


def http_address(broker: Broker) -> str | None:
    """Where the broker's HTTP pages are, once its log says so."""
    if place := getattr(broker, "place", None):
        return f"{place.http[0]}:{place.http[1]}"
    found = BOUND.search(COLOURS.sub("", broker.log_text()))
    return found[1] if found else None


def fetch(broker: Broker, accept: str | None = None) -> tuple[str, str]:
    """Text, and its type."""
    request = urllib.request.Request(f"http://{http_address(broker)}/metrics", headers={"Accept": accept} if accept else {})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return answer.read().decode(), answer.headers["Content-Type"]


def parse(text: str, openmetrics=False) -> Page:
    kinds, samples = {}, {}
    for family in (parse_openmetrics if openmetrics else parse_text)(text):
        assert family.name not in kinds, f"twice: {family.name}"
        kinds[family.name] = family.type
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in samples, f"twice: {sample}"
            samples[key] = sample.value
    return Page(text, kinds, samples)


def scrape(broker: Broker) -> Page:
    return parse(fetch(broker)[0])
