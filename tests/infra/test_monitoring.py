"""Rules, dashboard and Kubernetes objects of the monitoring, without a running build."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from grafana_foundation_sdk.models.dashboard import Dashboard

from infra.monitoring.__main__ import FOLDER, files
from infra.monitoring.dashboard import dashboard
from infra.monitoring.panels import panels
from infra.monitoring.rules import Thresholds, alerts, recorded
from pipeline.monitor.metrics import METRICS
from tests.infra.prometheus_tools import command

LIMITS = Thresholds()
EXPRESSIONS = [
    *recorded(LIMITS).values(),
    *(alert.expression for alert in alerts(LIMITS)),
    *(query.expression for panel in panels() for query in panel.queries),
]
RAYS_LABELS = {"WorkerId", "NodeAddress"}


def test_generated_files_are_those_of_the_code() -> None:
    """``python -m infra.monitoring`` writes them, with the tables of the documentation."""
    stale = [path.name for path, text in files().items() if path.read_text("utf-8") != text]
    assert stale == []


def test_expressions_use_declared_metrics_and_labels() -> None:
    declared = {metric.exported_name: {*metric.tags, *RAYS_LABELS} for metric in METRICS}
    used = set()
    for expression in EXPRESSIONS:
        names = set(re.findall(r"ray_npd_\w+", expression))
        used |= names
        assert names <= declared.keys()
        assert set(re.findall(r"npd:[\w:]+", expression)) <= recorded(LIMITS).keys()
        groups = ",".join(re.findall(r"\bby \(([^)]*)\)", expression))
        labels = {*re.findall(r"\w+(?==)", expression), *re.findall(r"\w+", groups)}
        known = set().union(*(declared[name] for name in names))
        assert names == set() or labels <= known, expression
    assert used == declared.keys(), "each metric is on the dashboard or in an alert"


def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    promtool = command("promtool")
    for arguments in (["rules", FOLDER / "rules.yaml"], ["config", FOLDER / "prometheus.yaml"]):
        subprocess.run([promtool, "check", *map(str, arguments)], check=True, capture_output=True)
    damaged = tmp_path / "rules.yaml"
    damaged.write_text((FOLDER / "rules.yaml").read_text().replace("sum by (", "sum bi ("))
    refused = subprocess.run([promtool, "check", "rules", str(damaged)], capture_output=True)
    assert refused.returncode != 0


def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    """promtool evaluates the rules on written series: ``alerts_test.yaml``."""
    promtool = command("promtool")
    shutil.copy(FOLDER / "rules.yaml", tmp_path)
    tests = shutil.copy(Path(__file__).parent / "alerts_test.yaml", tmp_path)
    ran = subprocess.run([promtool, "test", "rules", tests], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = Path(tests).read_text()
    assert {alert.name for alert in alerts(LIMITS)} == set(re.findall(r"Npd\w+", text))


def test_dashboard_is_one_that_grafana_knows() -> None:
    """Grafana's own types read it and lose nothing. The server is in no registry at hand."""
    made = dashboard()
    assert _lost(made, _as_read_by_grafana(made)) == []
    damaged = {**made, "titel": made["title"]}
    assert _lost(damaged, _as_read_by_grafana(damaged)) == ["titel"]
    places = [
        (x, y)
        for panel in made["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(set(places)) == len(places), "no panel covers another"


def _as_read_by_grafana(made: dict[str, Any]) -> Any:
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    return json.loads(JSONEncoder().encode(Dashboard.from_json(made)))


def _lost(made: Any, read: Any, path: str = "") -> list[str]:
    """Return the paths of values that ``read`` lacks or has differently."""
    if isinstance(made, dict) and isinstance(read, dict):
        return [
            lost
            for key, value in made.items()
            for lost in _lost(value, read.get(key), f"{path}.{key}".lstrip("."))
        ]
    if isinstance(made, list) and isinstance(read, list) and len(made) == len(read):
        pairs = enumerate(zip(made, read, strict=True))
        return [lost for i, (a, b) in pairs for lost in _lost(a, b, f"{path}[{i}]")]
    return [] if made == read else [path]


BUILD = {"app.kubernetes.io/part-of": "npd"}


def _objects(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((FOLDER / name).read_text("utf-8")))


def test_objects_of_the_operator_hold_rules_and_dashboard() -> None:
    board, rules = _objects("kubernetes.yaml")
    kubernetes_validate.validate(board, kubernetes_validate.latest_version(), strict=True)
    assert json.loads(board["data"]["npd-build.json"]) == dashboard()
    assert rules["spec"] == yaml.safe_load((FOLDER / "rules.yaml").read_text("utf-8"))
    (monitor,) = _objects("pod-monitor.yaml")
    assert monitor["spec"]["selector"]["matchLabels"] == BUILD


@pytest.mark.parametrize("name", ["prometheus.yaml", "grafana-provider.yaml"])
def test_configurations_name_files_that_exist(name: str) -> None:
    (content,) = _objects(name)
    for rules in content.get("rule_files", []):
        assert (FOLDER / rules).is_file()
    assert (FOLDER / "dashboard.json").is_file()
