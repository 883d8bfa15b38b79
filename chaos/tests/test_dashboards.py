"""The dashboards and rules as files: made by their program, about metrics that there are, where Grafana looks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from opentelemetry import trace
from prometheus_client.metrics import MetricWrapperBase

from boards import BOARDS, GRAFANA, OWN, PROMETHEUS, ROOT, RULES, metrics_of, panels, queries, recorded
from brownout.cells.grafana import TAG
from brownout_shop.telemetry import metrics

SOURCES = yaml.safe_load((GRAFANA / "provisioning/datasources/servers.yml").read_text())["datasources"]
GATES = "brownout_"
"""What the metrics of gates begin with; dashboards/push.py names them, and test_dashboards_gates.py asks for each."""


def named() -> set[str]:
    """The names of all metrics of the shop, without the suffixes of their series."""
    found = [value for name in metrics.__all__ if isinstance(value := getattr(metrics, name), MetricWrapperBase)]
    return {metric.name for each in found for metric in each.describe()}


def test_the_dashboards_are_what_their_program_makes_now(tmp_path: Path) -> None:
    subprocess.run([sys.executable, ROOT / "dashboards/generate.py", tmp_path], check=True, timeout=60)
    made = {path.name: path.read_text() for path in tmp_path.iterdir()}
    there = {path.name: path.read_text() for path in (GRAFANA / "dashboards").iterdir()}
    assert made.keys() == there.keys() == {f"{name}.json" for name in BOARDS}
    assert [name for name in made if made[name] != there[name]] == [], "run: python dashboards/generate.py"


def test_every_metric_of_the_shop_is_on_some_panel_and_no_other() -> None:
    shown = set().union(*(metrics_of(query.expression) for query in queries()))
    assert {name for name in shown if not name.startswith(GATES)} == named() | OWN | recorded() - unshown()


def unshown() -> set[str]:
    """The recorded shares that only alerts look at."""
    return {name for name in recorded() if name.endswith(("5m", "30m"))}


def test_rules_are_about_metrics_that_there_are() -> None:
    asked = set().union(*(metrics_of(rule["expr"]) for rule in RULES))
    assert recorded() <= asked
    assert asked <= named() | OWN | recorded()


def test_every_query_is_about_what_is_chosen() -> None:
    for query in queries():
        names = metrics_of(query.expression)
        chosen = "$promise" if any(name.startswith("brownout_promise") for name in names) else "$cell"
        assert chosen in query.expression or any(name.startswith("brownout_gate") for name in names), query


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_has_a_place_and_an_id_of_its_own_and_reads_a_data_source_that_is_provisioned(board: str) -> None:
    known = {(each["type"], each["uid"]) for each in SOURCES}
    taken: set[tuple[int, int]] = set()
    for panel in BOARDS[board]["panels"]:
        at = panel["gridPos"]
        x, y = at.get("x", 0), at.get("y", 0)
        cells = {(each, line) for each in range(x, x + at["w"]) for line in range(y, y + at["h"])}
        assert not cells & taken, panel["title"]
        assert x + at["w"] <= 24
        taken |= cells
    ids = [panel["id"] for panel in BOARDS[board]["panels"]]
    assert len(set(ids)) == len(ids)
    targets = [target for panel in panels(board) for target in panel["targets"]]
    for each in (*panels(board), *targets, *BOARDS[board]["templating"]["list"]):
        assert (each["datasource"]["type"], each["datasource"]["uid"]) in known


@pytest.mark.parametrize("board", BOARDS)
def test_the_queries_of_a_panel_have_names_of_their_own(board: str) -> None:
    for panel in panels(board):
        names = [target["refId"] for target in panel["targets"]]
        assert names == sorted(set(names)), panel["title"]
        assert names[0] == "A"


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_that_is_asked_for_can_be_chosen_and_the_other_way_round(board: str) -> None:
    variables = BOARDS[board]["templating"]["list"]
    texts = [target["expr"] for panel in panels(board) for target in panel["targets"]]
    texts += [each["query"]["query"] for each in variables]
    asked = set(re.findall(r"\$(\w+)", " ".join(texts))) - {"__interval", "__rate_interval"}
    assert asked == {each["name"] for each in variables}


@pytest.mark.parametrize("board", BOARDS)
def test_the_windows_of_faults_are_on_every_dashboard(board: str) -> None:
    (faults,) = BOARDS[board]["annotations"]["list"]
    assert faults["target"]["tags"] == [TAG]
    assert faults["enable"]


def test_the_dashboards_and_rules_lie_where_grafana_and_prometheus_look() -> None:
    (provider,) = yaml.safe_load((GRAFANA / "provisioning/dashboards/files.yml").read_text())["providers"]
    containers = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    mounted = {
        name: dict(volume.split(":")[:2] for volume in containers[name]["volumes"])
        for name in containers
        if "volumes" in containers[name]
    }
    home = containers["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert mounted["grafana"]["./dashboards/grafana/dashboards"] == provider["options"]["path"]
    assert mounted["grafana"]["./dashboards/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert (GRAFANA / "dashboards" / Path(home).relative_to(provider["options"]["path"])).is_file()
    assert mounted["prometheus"] == {"./dashboards/prometheus": "/etc/prometheus"}
    assert "--config.file=/etc/prometheus/prometheus.yml" in containers["prometheus"]["command"]


def test_an_exemplar_leads_to_its_trace() -> None:
    (link,) = next(each for each in SOURCES if each["type"] == "prometheus")["jsonData"]["exemplarTraceIdDestinations"]
    sampled = trace.SpanContext(1, 2, is_remote=False, trace_flags=trace.TraceFlags(trace.TraceFlags.SAMPLED))
    with trace.use_span(trace.NonRecordingSpan(sampled)):
        assert metrics.exemplar() == {link["name"]: f"{1:032x}"}
    assert link["datasourceUid"] in {each["uid"] for each in SOURCES if each["type"] == "jaeger"}


def test_every_alert_says_what_is_wrong_and_how_urgent_that_is() -> None:
    found = [rule for rule in RULES if "alert" in rule]
    assert len(found) == len({rule["alert"] for rule in found}) > 5
    for rule in found:
        assert rule["labels"]["severity"] in {"page", "ticket"}
        assert "{{ $labels." in rule["annotations"]["summary"]


def test_the_budget_that_is_shown_is_the_one_that_alerts_are_about() -> None:
    alerted = re.findall(r"> ([\d.]+) \* ([\d.]+)", " ".join(rule["expr"] for rule in RULES))
    (burnt,) = (panel for panel in panels("overview") if panel["title"].startswith("Error budget"))
    assert {budget for _, budget in alerted} == {re.split(" / ", each["expr"])[1] for each in burnt["targets"]}
    assert all(pace in burnt["description"] for pace, _ in alerted)
    assert len(alerted) == 4


def test_every_rule_is_tested() -> None:
    """In `dashboards/prometheus/tests`, which test_rules.py has promtool run."""
    tested = "".join(path.read_text() for path in (PROMETHEUS / "tests").glob("*.yml"))
    for name in (rule.get("alert") or rule["record"] for rule in RULES):
        assert name in tested
