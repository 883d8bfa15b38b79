"""The dashboards and rules, as Grafana and Prometheus read them: what they ask for, and by which names."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "dashboards/grafana"
PROMETHEUS = ROOT / "dashboards/prometheus"
BOARDS: Mapping[str, Any] = {
    path.stem: json.loads(path.read_text()) for path in sorted((GRAFANA / "dashboards").glob("*.json"))
}
RULES: tuple[Mapping[str, Any], ...] = tuple(
    rule
    for name in yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["rule_files"]
    for group in yaml.safe_load((PROMETHEUS / name).read_text())["groups"]
    for rule in group["rules"]
)
OWN = {"up", "ALERTS"}
"""What Prometheus itself adds."""


@dataclass(frozen=True)
class Query:
    """One query of a panel."""

    board: str
    panel: str
    expression: str
    legend: str
    exemplars: bool

    def __str__(self) -> str:
        return f"{self.board}: {self.panel}: {self.legend}"

    def about(self, **variables: str) -> str:
        """The query as Grafana sends it, with everything chosen but what is given."""
        expression = self.expression
        usual = {"cell": ".+", "service": ".+", "promise": ".+", "__rate_interval": "5s", "__interval": "5s"}
        for name, value in (usual | variables).items():
            expression = expression.replace(f"${name}", value)
        assert "$" not in expression
        return expression


def panels(board: str) -> list[Any]:
    return [panel for panel in BOARDS[board]["panels"] if panel["type"] != "row"]


def queries() -> Iterator[Query]:
    for board in BOARDS:
        for panel in panels(board):
            for target in panel["targets"]:
                yield Query(board, panel["title"], target["expr"], target["legendFormat"], exemplars=target["exemplar"])


def recorded() -> set[str]:
    return {rule["record"] for rule in RULES if "record" in rule}


def alerts() -> list[str]:
    return [rule["alert"] for rule in RULES if "alert" in rule]


def metrics_of(expression: str) -> set[str]:
    """The names of the metrics that a query asks for, without the suffixes of their series."""
    bare = re.sub(r"{[^}]*}|\[[^\]]*\]|\bby\s*\([^)]*\)", " ", expression)  # no labels, no times
    names = set(re.findall(r"(?<![\w:.])[a-zA-Z_:][\w:]*(?!\s*\()(?![\w:])", bare)) - {"and", "or", "unless", "offset"}
    return {name if name in recorded() else re.sub("_(bucket|count|sum|total)$", "", name) for name in names}
