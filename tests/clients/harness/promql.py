"""Names of metrics in a PromQL expression, or in the query of a dashboard's variable.

Not a parser: what cannot be a metric's name is taken out (strings, label matchers, lists of labels, ranges, numbers), and of
the words that are left those that are neither functions nor keywords are metrics. promtool says whether it is PromQL at all.
"""

import re

STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
MATCHERS = re.compile(r"\{[^{}]*\}")
RANGE = re.compile(r"\[[^\[\]]*\]")
LABELS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\([^()]*\)")
VARIABLE_QUERY = re.compile(r"^\s*label_values\(\s*(.*),\s*\w+\s*\)\s*$", re.DOTALL)
WORD = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\()\b(?!\s*\()")
KEYWORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan", "group_left", "group_right", "atan2"}


def metric_names(expression: str) -> set[str]:
    if found := VARIABLE_QUERY.match(expression):
        expression = found[1]
    bare = STRING.sub("", expression)
    for noise in (MATCHERS, RANGE, LABELS):
        bare = noise.sub(" ", bare)
    bare = re.sub(r"\boffset\s+-?\w+", " ", bare)
    bare = re.sub(r"(?<![\w:.])[0-9][0-9.]*(?:e[+-]?[0-9]+|[a-z]+)?", " ", bare)
    return {word for word in WORD.findall(bare) if word.lower() not in KEYWORDS}
