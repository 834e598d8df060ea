"""Every metric is documented, and dashboards and alerts name no other."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from pipeline.assembly.commands.observation.fleet import FLEET_GAUGES
from pipeline.metrics.catalogue import METRICS, Kind, Place
from pipeline.metrics.registry import Metrics
from pipeline.metrics.reporter import RETRIES

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "config" / "grafana" / "pipeline.json"
ALERTS = ROOT / "config" / "prometheus" / "alerts.yml"
MONITOR = ROOT / "docs" / "how-to" / "monitor.md"


def series() -> set[str]:
    """The names under which a query finds something."""
    found: set[str] = set()
    for metric in METRICS:
        endings = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        found.update(f"{metric.name}{ending}" for ending in endings)
    return found


def named(text: str) -> set[str]:
    return set(re.findall(r"\bpipeline_[a-z_]+\b", text))


def test_every_metric_is_documented_and_no_other() -> None:
    page = (ROOT / "docs" / "reference" / "metrics.md").read_text()
    rows = re.findall(r"^\| `(pipeline_\w+)` \| (\w+) \| (.*) \| (.*) \|$", page, re.MULTILINE)
    assert sorted(rows) == sorted(
        (metric.name, metric.kind.value, ", ".join(metric.labels), metric.meaning) for metric in METRICS
    )
    documented = set(re.findall(r"`(\w+)`", page))
    assert {label for metric in METRICS for label in metric.labels} | set(RETRIES.values()) <= documented


def test_names_have_units_and_labels_are_few() -> None:
    for metric in METRICS:
        assert (metric.kind is Kind.COUNTER) == metric.name.endswith("_total"), metric.name
        assert metric.kind is not Kind.HISTOGRAM or metric.name.endswith("_seconds")
        assert not {"movement", "file", "key"} & set(metric.labels)


def test_prometheus_serves_each_metric_under_its_name() -> None:
    metrics = Metrics("1", streams=10, is_server=True)
    for metric in METRICS:
        labels = dict.fromkeys(metric.labels, "x")
        match metric.kind:
            case Kind.COUNTER:
                metrics.count(metric.name, 1, **labels)
            case Kind.GAUGE:
                metrics.set(metric.name, 1, **labels)
            case Kind.HISTOGRAM:
                metrics.observe(metric.name, 1, **labels)
    assert series() <= named(metrics.render().decode())


def test_the_dashboard_names_what_exists_and_leaves_nothing_out() -> None:
    dashboard = json.loads(GRAFANA.read_text())
    shown = named(json.dumps(dashboard))
    assert shown <= series()
    assert {metric.name for metric in METRICS} <= {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    assert {one["name"] for one in dashboard["templating"]["list"]} == {"datasource", "flow", "stream"}
    sources = [one["datasource"]["uid"] for one in dashboard["panels"] if "datasource" in one]
    assert set(sources) == {"${datasource}"}
    assert {one["type"] for one in dashboard["panels"]} <= {"row", "timeseries", "stat"}  # none needs a plug-in


def test_alerts_name_what_exists_and_say_what_to_do() -> None:
    text = ALERTS.read_text()
    alerts = re.findall(r"- alert: (\w+)\n\s+expr: (.+)\n", text)
    assert len(alerts) == 6
    assert {name for _, expression in alerts for name in named(expression)} <= series()
    books = re.findall(r"runbook_url: (\S+)#(\w+)", text)
    assert books == [("docs/how-to/monitor.md", name.lower()) for name, _ in alerts]
    assert [name for name, _ in alerts] == re.findall(r"^### (\w+)$", MONITOR.read_text(), re.MULTILINE)


def test_the_gauges_of_the_fleet_are_those_of_the_catalogue() -> None:
    assert sorted(FLEET_GAUGES) == sorted(metric.name for metric in METRICS if metric.place is Place.SERVE)


@pytest.mark.parametrize("most", [0, 2])
def test_streams_beyond_the_limit_share_a_label(most: int) -> None:
    metrics = Metrics("1", streams=most)
    shown = [metrics.stream("crm", stream) for stream in ("a", "b", "c", "a")]
    assert shown == (["a", "b", "(others)", "a"] if most else ["(others)"] * 4)
