"""Grafana dashboard with the panels of a build."""

from itertools import count
from typing import Any

from infra.monitoring.panels import ROWS, Panel

COLUMNS = 24
"""Width of a Grafana dashboard."""


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's format."""
    made: list[dict[str, Any]] = []
    numbers, y = count(1), 0
    for title, row in ROWS.items():
        made.append(
            {
                "id": next(numbers),
                "type": "row",
                "title": title,
                "collapsed": False,
                "panels": [],
                "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
            }
        )
        y += 1
        x = height = 0
        for panel in row:
            width, panel_height = (6, 4) if panel.kind == "stat" else (12, 8)
            if x + width > COLUMNS:
                x, y = 0, y + height
            made.append(_panel(panel, next(numbers), (x, y, width, panel_height)))
            x, height = x + width, panel_height
        y += height
    return {
        "uid": "npd-build",
        "title": "Noise Prompt Dataset",
        "tags": ["npd", "ray"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), _plans()]},
        "panels": made,
    }


_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource",
        "type": "datasource",
        "query": "prometheus",
        "label": "Prometheus",
    }


def _plans() -> dict[str, Any]:
    return {
        "name": "plan",
        "type": "query",
        "label": "Plan",
        "datasource": _SOURCE,
        "query": "label_values(ray_npd_units, plan)",
        "refresh": 2,  # when the range of time changes, so that a new build is listed
        "includeAll": True,
        "multi": True,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(panel: Panel, number: int, place: tuple[int, int, int, int]) -> dict[str, Any]:
    x, y, width, height = place
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": height},
        "fieldConfig": {"defaults": {"unit": panel.unit}, "overrides": []},
        "options": {},
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": _SOURCE,
                "expr": query.expression,
                "legendFormat": query.legend,
            }
            for index, query in enumerate(panel.queries)
        ],
    }
