"""A real build on a real Ray cluster, scraped by a real Prometheus with the real rules."""

import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.monitoring.panels import panels
from infra.monitoring.rules import Thresholds, alerts, recorded, rule_groups
from pipeline.config.file import BUNDLED
from tests import sealed
from tests.infra.prometheus_tools import Prometheus, command, running, scraping
from tests.jobs.ray_head import ROOT, RayHead
from tests.waiting import until

DEADLINE_S = 300.0

LIMITS = Thresholds(
    window="12s",
    min_candidates=20,
    min_judged=5,
    # Health checks are 5 s apart.
    stall_seconds=10,
    store_window="10s",
    vanished_for="10s",
)
"""The rules of production over seconds."""

RULES = rule_groups(LIMITS)

REPORT_MS = 2000
"""Milliseconds between two reports of Ray, 10 s by default."""

HEALTHY_S = 5
"""Seconds for which no alert may fire, with the rates of the rules available."""


@dataclass(frozen=True)
class Scene:
    """A running build under Prometheus."""

    head: RayHead
    prometheus: Prometheus
    switch: Path
    """The judge drifts once this file exists."""
    driver: "subprocess.Popen[bytes]"
    log: Path

    def wait(self, condition: Any, what: str) -> None:
        """Wait for a condition while the build runs."""
        until(lambda: condition() or self.driver.poll() is not None, DEADLINE_S, poll_s=0.3)
        assert condition(), f"no {what}: {self.log.read_text(errors='replace')[-3000:]}"


@pytest.fixture(scope="module")
def scene(s3_server: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    command("prometheus")  # skips before anything starts
    folder = tmp_path_factory.mktemp("monitored")
    switch = folder / "drift"
    judge = {
        "name": "judge",
        "kind": "custom",
        "entry": "switched_judge:SwitchedJudge",
        "code": str(Path(__file__).parent),
        "options": {"switch": str(switch)},
        "select": False,
    }
    settings = sealed.changed(
        # Far more units than the test waits for.
        prompts={"seeds_per_prompt": 500},
        rewards=[{"name": "scene", "kind": "scene", "path": str(BUNDLED / "reward")}, judge],
        units={"size": 2, "batch_size": 2},
        output={"formats": ["arrow"], "images": "none"},
        cluster={"workers": 1, "gpus_per_worker": 0, "price_per_gpu_hour": 2.0},
    )
    sealed.write_config(folder, settings)
    environment = {**s3_server.env(), "RAY_metrics_report_interval_ms": str(REPORT_MS)}
    log = folder / "driver.log"
    with (
        # Not in pytest's folder: the paths of Ray's sockets must be shorter than 108 characters.
        tempfile.TemporaryDirectory(prefix="npd-ray-") as ray_folder,
        RayHead(Path(ray_folder), environment) as head,
        running(
            folder, scraping(head.service_discovery, rule_groups(LIMITS), folder)
        ) as prometheus,
        log.open("wb") as output,
    ):
        head.wait_until_drivers_connect()
        driver = subprocess.Popen(
            [
                *(sys.executable, "-m", "pipeline.cli", "build", str(folder / "build.toml")),
                *("--out", "s3://npd-tests/monitored", "--address", head.gcs_address),
            ],
            env=head.client_env() | environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        try:
            yield Scene(head, prometheus, switch, driver, log)
        finally:
            driver.kill()
            driver.wait()


def _as_sent(expression: str) -> str:
    """Return an expression of the dashboard with Grafana's variables filled in, over seconds."""
    for variable, value in {
        "$plan": ".+",
        "$__rate_interval": "10s",
        "$__range": "1h",
        "[30m:30s]": "[1m:1s]",
    }.items():
        expression = expression.replace(variable, value)
    return expression


def _selectors(expression: str) -> set[str]:
    """Return the series that an alert or a recording rule reads."""
    return set(re.findall(r"(?:ray_)?npd[\w:]+(?:\{[^}]*\})?", expression))


NEEDS_GPU = "ray_npd_gpu_memory_bytes"


def _wanted() -> set[str]:
    """Return every expression that has a value in a healthy build.

    Those of the dashboard as a whole; of the alerts, which have no value there, the series.
    """
    shown = {_as_sent(query.expression) for panel in panels() for query in panel.queries}
    read = {
        selector
        for expression in [
            *recorded(LIMITS).values(),
            *(alert.expression for alert in alerts(LIMITS)),
        ]
        for selector in _selectors(expression)
    }
    return {one for one in {*shown, *read} if NEEDS_GPU not in one}


def test_healthy_build_has_every_series_and_no_alert_until_judge_drifts_and_worker_stalls(
    scene: Scene,
) -> None:
    """One build, because most of its time is spent starting Ray and loading models."""
    ask = scene.prometheus.query
    missing = _wanted()
    assert len(missing) > 50

    def is_complete() -> bool:
        # Until the first one has a value there is no use in asking for all.
        if ask("npd:judged:recent > 0"):
            missing.difference_update([one for one in missing if ask(one)])
        return not missing

    scene.wait(is_complete, "value of each expression")
    scene.wait(lambda: ask(f"count_over_time(npd:judged:recent[1m]) > {HEALTHY_S}"), "records")
    assert scene.prometheus.firing() == set()
    (plan,) = {series["metric"]["plan"] for series in ask("ray_npd_units")}

    scene.switch.touch()
    scene.wait(lambda: scene.prometheus.firing(), "alert of the judge")
    assert scene.prometheus.firing() == {("NpdJudgeNegative", plan)}

    (worker,) = scene.head.processes("ray::WorkerActor")
    worker.send_signal(signal.SIGSTOP)
    scene.wait(lambda: ("NpdWorkerStalled", plan) in scene.prometheus.firing(), "alert of stall")
