"""Write the generated files of this folder and the table of metrics.

python -m infra.monitoring
"""

import json
from pathlib import Path
from typing import Any

import yaml

from infra.monitoring.dashboard import dashboard
from infra.monitoring.rules import Thresholds, alerts, rule_groups
from pipeline.monitor.metrics import METRICS

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs" / "monitoring.md"

_HEADER = "# Made by `python -m infra.monitoring`.\n"


def files() -> dict[Path, str]:
    """Map the path of each generated file to its text."""
    board = json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"
    rules = rule_groups(Thresholds())
    return {
        FOLDER / "dashboard.json": board,
        FOLDER / "rules.yaml": _HEADER + _yaml(rules),
        FOLDER / "kubernetes.yaml": _HEADER
        + "---\n".join(_yaml(each) for each in _objects(board, rules)),
        PAGE: _with_tables(PAGE.read_text(encoding="utf-8")),
    }


def main() -> None:
    """Write the files."""
    for path, text in files().items():
        path.write_text(text, encoding="utf-8")


def _objects(board: str, rules: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the objects of Kubernetes that hold the dashboard and the rules."""
    labels = {"app.kubernetes.io/part-of": "npd"}
    return [
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            # Grafana's sidecar in kube-prometheus-stack loads every ConfigMap with this label.
            "metadata": {
                "name": "npd-dashboard",
                "labels": {**labels, "grafana_dashboard": "1"},
            },
            "data": {"npd-build.json": board},
        },
        {
            "apiVersion": "monitoring.coreos.com/v1",
            "kind": "PrometheusRule",
            "metadata": {"name": "npd", "labels": labels},
            "spec": rules,
        },
    ]


def _with_tables(page: str) -> str:
    for name, lines in (("metrics", _metric_lines()), ("alerts", _alert_lines())):
        begin, end = f"<!-- {name}: made by python -m infra.monitoring -->\n", f"<!-- /{name} -->"
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = before + begin + "\n" + "\n".join(lines) + "\n\n" + end + after
    return page


def _metric_lines() -> list[str]:
    rows = [
        f"| `{metric.exported_name}` | {metric.kind} | {metric.unit} "
        f"| {', '.join(f'`{tag}`' for tag in metric.tags)} | {metric.description} |"
        for metric in METRICS
    ]
    return ["| metric | type | unit | labels | meaning |", "|---|---|---|---|---|", *rows]


def _alert_lines() -> list[str]:
    # A vertical bar would end the cell, even in code.
    rows = [
        f"| `{alert.name}` | {alert.severity} | `{_escaped(alert.expression)}` | {alert.action} |"
        for alert in alerts(Thresholds())
    ]
    return ["| alert | severity | fires if | what to do |", "|---|---|---|---|", *rows]


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")


def _yaml(content: dict[str, Any]) -> str:
    return yaml.dump(content, sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    main()
