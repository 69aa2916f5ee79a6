"""Prometheus of the machine: its commands, and a running server."""

import json
import shutil
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.storage.ports import free_ports
from tests.waiting import until

READY_S = 120.0


def command(name: str) -> str:
    """Return the path of ``prometheus`` or ``promtool``. Skip the test if it is not installed."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; it is in Debian's package prometheus")
    return found


@dataclass(frozen=True)
class Prometheus:
    """A running server."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an expression now, each with its labels and its value."""
        found: list[dict[str, Any]] = self._get("query", {"query": expression})["result"]
        return found

    def values(self, expression: str, step: str, since: str) -> list[list[float]]:
        """Return the values over the time ``since``, a list per series, at steps of ``step``."""
        found = self.query(f"({expression})[{since}:{step}]")
        return [[float(value) for _, value in series["values"]] for series in found]

    def firing(self) -> set[tuple[str, str]]:
        """Return the name and the plan of each alert that fires."""
        return {
            (alert["labels"]["alertname"], alert["labels"].get("plan", ""))
            for alert in self._get("alerts", {})["alerts"]
            if alert["state"] == "firing"
        }

    def targets_up(self) -> int:
        """Return the number of exporters that answered the last scrape."""
        return sum(target["health"] == "up" for target in self._get("targets", {})["activeTargets"])

    def _get(self, what: str, parameters: Mapping[str, str]) -> Any:
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.url}/api/v1/{what}?{query}", timeout=60) as reply:
            return json.load(reply)["data"]


def scraping(discovery: Path, rules: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the configuration of a server that scrapes every second what Ray lists in a file."""
    (folder / "rules.json").write_text(json.dumps(rules))  # JSON is YAML
    targets = {"files": [str(discovery)], "refresh_interval": "1s"}
    return {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(folder / "rules.json")],
        "scrape_configs": [{"job_name": "ray", "file_sd_configs": [targets]}],
    }


@contextmanager
def running(folder: Path, config: Mapping[str, Any]) -> Iterator[Prometheus]:
    """Run Prometheus with a configuration and its data in ``folder``."""
    program = command("prometheus")
    (folder / "prometheus.json").write_text(json.dumps(config))  # JSON is YAML
    (port,) = free_ports(1)
    with (folder / "prometheus.log").open("wb") as log:
        server = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.json'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        made = Prometheus(f"http://127.0.0.1:{port}")
        until(lambda: server.poll() is not None or _answers(f"{made.url}/-/ready"), READY_S)
        assert server.poll() is None, (folder / "prometheus.log").read_text()
        yield made
    finally:
        server.kill()
        server.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
