"""Plot panels of the dashboard from a Prometheus, for where there is no Grafana.

pip install matplotlib
python -m infra.monitoring.picture http://localhost:9090 dashboard.png --minutes 60
"""

import argparse
import json
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from infra.monitoring.panels import Panel, panels

SHOWN = (
    "Units",
    "Candidates per second",
    "Keep rate",
    "Mean gain",
    "Stage seconds per candidate",
    "Workers",
)
"""Titles of the panels, two in a row."""

_POINTS = 240


def draw(url: str, path: Path, seconds: float, rate_window: str = "1m") -> None:
    """Plot the last ``seconds`` of the panels ``SHOWN`` into a file."""
    # Imported here, because only this command needs it.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 9), layout="constrained")
    axes = figure.subplots(len(SHOWN) // 2, 2)
    for axis, panel in zip(axes.flat, _shown(), strict=True):
        axis.set_title(panel.title, fontsize=10)
        axis.set_ylabel({"percentunit": "share", "s": "s", "ops": "1/s"}.get(panel.unit, ""))
        axis.set_xlabel("minutes", fontsize=8)
        for query in panel.queries:
            for series in _range(url, query.expression, seconds, rate_window):
                times, values = zip(*series["values"], strict=True)
                minutes = [(moment - time.time() + seconds) / 60 for moment in times]
                label = query.legend
                for name, value in series["metric"].items():
                    label = label.replace(f"{{{{{name}}}}}", value)
                axis.plot(minutes, [float(value) for value in values], label=label, linewidth=1)
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path, dpi=90)


def _shown() -> list[Panel]:
    by_title = {panel.title: panel for panel in panels()}
    return [by_title[title] for title in SHOWN]


def _range(url: str, expression: str, seconds: float, rate_window: str) -> list[dict[str, Any]]:
    for variable, value in {"$plan": ".+", "$__rate_interval": rate_window}.items():
        expression = expression.replace(variable, value)
    now = time.time()
    step = max(seconds / _POINTS, 1)
    parameters = {"query": expression, "start": now - seconds, "end": now, "step": step}
    address = f"{url}/api/v1/query_range?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(address, timeout=60) as reply:
        found: list[dict[str, Any]] = json.load(reply)["data"]["result"]
    return found


def main() -> None:
    """Parse the arguments and plot."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url", help="address of Prometheus")
    parser.add_argument("path", type=Path, help="PNG or SVG to write")
    parser.add_argument("--minutes", type=float, default=60)
    options = parser.parse_args()
    draw(options.url, options.path, 60 * options.minutes)


if __name__ == "__main__":
    main()
