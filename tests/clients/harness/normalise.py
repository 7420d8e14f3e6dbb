"""What of an output may differ between two clusters that behave the same, replaced by placeholders.

Ids, addresses, paths, times and positions in the metadata log become `<...>`. Where Kafka chooses brokers at random,
the choice is checked for what it promises (distinct replicas, the number asked for) and summed up in one line. Configs
that only Ringlog has are left out. All else stays as it is, texts of errors included.
"""

import json
import re
from collections import Counter
from dataclasses import dataclass, field

OWN_CONFIGS = "ringlog."
UUID = r"[A-Za-z0-9_-]{22}"
FRAME = re.compile(r"^\s*(at [\w.$/<>]+\(|\.\.\. \d+ more)")
LOG_LINE = re.compile(r"^\d{4}-\d\d-\d\d [\d:,]+ (\w+) (.*)$")
PARTITION_LINE = re.compile(
    r"^\s*Topic: (\S+)\s+Partition: (\d+)\s+Leader: (\S+)\s+Replicas: ([\d,]*)\s+Isr: ([\d,]*)(.*)$"
)


@dataclass
class Names:
    """What this one cluster's outputs have in them that no other's have: text -> placeholder."""

    texts: dict[str, str] = field(default_factory=dict)
    ports: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, cluster) -> "Names":
        names = cls()
        for node in cluster.nodes.values():
            for what, (host, port) in (("broker", node.place.kafka), ("internal", node.place.internal)):
                names.texts[f"{host}:{port}"] = f"<{what} {node.id}>"
                names.ports[f"{host} {port}"] = f"<{what} {node.id}>"
        return names

    def replace(self, text: str) -> str:
        for found, placeholder in self.texts.items():
            text = text.replace(found, placeholder)
        for found, placeholder in self.ports.items():
            text = re.sub(re.escape(found).replace(r"\ ", r"\s+") + r"\b", placeholder, text)
        return text


def tool_output(stdout: str, stderr: str, names: Names, *, free_placement=False) -> list[str]:
    """The lines of a transcript; those of standard error are marked with `!`."""
    lines = _plain(stdout) + ["! " + line for line in _without_log_noise(stderr)]
    text = names.replace("\n".join(lines))
    text = re.sub(rf"\bTopicId: {UUID}", "TopicId: <topic id>", text)
    text = re.sub(rf"\b(Cluster ID: |ClusterId: ){UUID}", r"\1<cluster id>", text)
    text = re.sub(rf"\b(topic ID|topicId|topic id) {UUID}", r"\1 <topic id>", text)
    text = re.sub(r"--bootstrap-server <broker \d+>", "--bootstrap-server <broker>", text)
    text = re.sub(r'"/[^"]*"', '"<log dir>"', text)
    lines = _quorum_status(_group_tables(text.splitlines()))
    lines = _quorum_replication(lines)
    lines = _proposal(lines)
    lines = [_log_dirs(line) for line in lines]
    return _placement(lines, free_placement)


def _plain(text: str) -> list[str]:
    """Without stack frames, own configs and trailing blanks; one blank between columns, whose width varies."""
    lines = [re.sub(r"(?<=\S)[ \t]+", " ", line.replace("\t", "  ")).rstrip() for line in text.splitlines()]
    return [line for line in lines if line and not FRAME.match(line) and not line.lstrip().startswith(OWN_CONFIGS)]


def _without_log_noise(stderr: str) -> list[str]:
    """Errors only, without times and the logger's name: warnings tell of connections and timing."""
    kept, level = [], "ERROR"
    for line in _plain(stderr):
        if logged := LOG_LINE.match(line):
            level, line = logged.groups()
        if level != "ERROR" or re.match(r"^\s*\(\w+\)$", line):
            continue
        line = re.sub(r"\[AdminClient clientId=[^]]*\] ", "", line)
        kept.append(re.sub(r" \(\w+\)$", "", line))
    return kept


def _group_tables(lines: list[str]) -> list[str]:
    """kafka-consumer-groups: rows in order, members by their clients' names, and any coordinator."""
    out: list[str] = []
    rows: list[str] = []
    columns: list[str] = []
    for line in [*lines, "!"]:
        if line.startswith(("GROUP ", "!", "Error:")):
            out += sorted(rows)
            rows, columns = [], line.split(" ") if line.startswith("GROUP ") else []
            out.append(line)
        elif not columns:
            out.append(line)
        else:
            cells = re.sub(r"<broker \d+> \(\d+\)", "<coordinator> (<id>)", line).split(" ")
            row = dict(zip(columns, cells))
            if row.get("CONSUMER-ID", "-") != "-":
                cells[columns.index("CONSUMER-ID")] = f"<a member of {row.get('CLIENT-ID')}>"
            rows.append(" ".join(cells))
    return out[:-1]


STATUS = re.compile(
    r"^(LeaderId|LeaderEpoch|HighWatermark|MaxFollowerLag|MaxFollowerLagTimeMs|CurrentVoters|CurrentObservers): (.*)$"
)


def _quorum_status(lines: list[str]) -> list[str]:
    """kafka-metadata-quorum describe --status: numbers become placeholders, voters their ids."""
    out = []
    for line in lines:
        found = STATUS.match(line)
        if found and found[1].startswith("Current"):
            members = json.loads(found[2])
            line = f"{found[1]}: {sorted(m['id'] for m in members)}"
        elif found:
            assert re.fullmatch(r"-?\d+", found[2]), line
            line = f"{found[1]}: <number>"
        out.append(line)
    return out


def _quorum_replication(lines: list[str]) -> list[str]:
    """kafka-metadata-quorum describe --replication: ids in order, and how many of each status."""
    header = next((i for i, line in enumerate(lines) if line.startswith("NodeId DirectoryId ")), None)
    if header is None:
        return lines
    rows = [line.split() for line in lines[header + 1 :] if re.match(r"^\d+ ", line)]
    rest = [line for line in lines[header + 1 :] if not re.match(r"^\d+ ", line)]
    status = Counter(row[-1] for row in rows)
    summary = [f"<ids {' '.join(sorted(row[0] for row in rows))}>"]
    summary += [f"<{name}: {count}>" for name, count in sorted(status.items())]
    return [*lines[: header + 1], *summary, *rest]


def _log_dirs(line: str) -> str:
    """kafka-log-dirs: sorted, without sizes, which depend on the format of the files."""
    if not line.startswith('{"brokers":'):
        return line
    answer = json.loads(line)
    out = []
    for broker in sorted(answer["brokers"], key=lambda b: b["broker"]):
        for log_dir in broker["logDirs"]:
            found = sorted(
                f"{p['partition']} (lag {p['offsetLag']}{', future' if p['isFuture'] else ''})"
                for p in log_dir["partitions"]
            )
            out.append(f"broker {broker['broker']}, {log_dir['logDir']}, error {log_dir['error']}: {', '.join(found)}")
    return f"version {answer['version']}\n" + "\n".join(out)


def _proposal(lines: list[str]) -> list[str]:
    """kafka-reassign-partitions --generate: the tool begins at a broker of its choice."""
    if "Proposed partition reassignment configuration" not in lines:
        return lines
    at = lines.index("Proposed partition reassignment configuration") + 1
    partitions = json.loads(lines[at])["partitions"]
    assert all(len(set(p["replicas"])) == len(p["replicas"]) for p in partitions), lines[at]
    shown = [f"{p['topic']}-{p['partition']} on {len(p['replicas'])} brokers" for p in partitions]
    return [*lines[:at], f"<{', '.join(shown)}>", *lines[at + 1 :]]


def _sorted_configs(line: str) -> str:
    """The configs of a topic's header line, in order of their names."""
    head, marker, configs = line.partition(" Configs: ")
    return line if not marker else head + marker + ",".join(sorted(re.split(r",(?=[a-z.]+=)", configs)))


def _placement(lines: list[str], free: bool) -> list[str]:
    """kafka-topics --describe: in-sync replicas in order of their ids; chosen replicas checked and counted."""
    out: list[str] = []
    leaders: Counter[str] = Counter()
    for line in lines:
        found = PARTITION_LINE.match(line)
        if not found:
            out.append(_sorted_configs(line) if line.startswith("Topic: ") else line)
            continue
        topic, partition, leader, assigned, in_sync, rest = found.groups()
        assigned, in_sync = assigned.split(","), sorted(filter(None, in_sync.split(",")))
        shown = [leader, ",".join(assigned), ",".join(in_sync)]
        if free:
            assert len(set(assigned)) == len(assigned), f"replicas that are not distinct: {line}"
            leaders[leader] += 1
            shown[0] = "<the first>" if leader == assigned[0] else leader
            shown[1] = f"<{len(assigned)} distinct>"
            shown[2] = "<all>" if in_sync == sorted(assigned) else shown[2]
        out.append(
            f" Topic: {topic} Partition: {partition} Leader: {shown[0]} Replicas: {shown[1]} Isr: {shown[2]}{rest}"
        )
    if leaders:
        # Not the followers: Kafka's own spread differs from run to run.
        out.append(f"<leaders per broker: {sorted(leaders.values())}>")
    return out


def call_result(result, names: Names) -> list[str]:
    """What an admin client's call returned: JSON, one line for each element of the outermost list or object."""
    if isinstance(result, str):
        return names.replace(result).splitlines()
    if isinstance(result, dict):
        result = {key: value for key, value in result.items() if not str(key).startswith(OWN_CONFIGS)}
        result = [f"{key}: {json.dumps(value, sort_keys=True)}" for key, value in sorted(result.items(), key=str)]
    elif isinstance(result, (list, tuple)):
        result = [json.dumps(value, sort_keys=True) for value in result]
    else:
        result = [json.dumps(result)]
    return names.replace("\n".join(result)).splitlines()
