"""A build that is killed and resumed twice while Prometheus scrapes it. Prints a JSON report.

    python -m tests.infra.scraped_resumes [PICTURE]

In the last run the metrics agent of Ray is stopped while units are computed.
"""

import json
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from time import monotonic
from typing import Any

from infra.monitoring.picture import draw
from infra.monitoring.rules import Thresholds, rule_groups
from pipeline.storage.open import open_store
from tests import sealed
from tests.infra.prometheus_tools import Prometheus, running, scraping
from tests.jobs.ray_head import ROOT, RayHead
from tests.waiting import pause, until

DEADLINE_S = 300.0
UNITS = 60
INTERVAL = {"RAY_metrics_report_interval_ms": "1000"}
RULES = rule_groups(Thresholds(window="1m"))
SETTINGS = sealed.changed(
    prompts={"seeds_per_prompt": 10},
    units={"size": 4, "batch_size": 4},
    output={"formats": ["arrow"], "images": "none"},
    cluster={"workers": 1},
)


def play(folder: Path, ray_folder: Path, picture: Path | None) -> dict[str, Any]:
    sealed.write_config(folder, SETTINGS)
    out = folder / "out"

    def receipts() -> int:
        return len(list(out.glob("receipts/*/*.json")))

    with (
        RayHead(ray_folder, INTERVAL) as head,
        running(folder, scraping(head.service_discovery, RULES, folder)) as prometheus,
        (folder / "driver.log").open("wb") as log,
    ):
        head.wait_until_drivers_connect()
        begin = monotonic()

        def start() -> "subprocess.Popen[bytes]":
            build = ("pipeline.cli", "build", folder / "build.toml", "--out", out)
            return subprocess.Popen(
                [sys.executable, "-m", *map(str, build), "--address", head.gcs_address],
                env=head.client_env() | INTERVAL,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

        killed_at = []
        for target in (UNITS // 4, UNITS // 2):
            driver = start()
            reached = until(lambda wanted=target: receipts() >= wanted, DEADLINE_S)  # type: ignore[misc]  # mypy cannot infer lambdas with defaults
            assert reached and driver.poll() is None
            driver.kill()
            driver.wait()
            killed_at.append(receipts())
        driver = start()
        assert until(lambda: receipts() >= UNITS * 3 // 4, DEADLINE_S)
        report = _report(prometheus)
        (agent,) = head.processes("dashboard/agent.py")
        agent.send_signal(signal.SIGSTOP)
        # Units go on. New processes of Ray wait for its agent, so sealing waits until it answers.
        assert until(lambda: receipts() == UNITS, DEADLINE_S)
        agent.send_signal(signal.SIGCONT)
        code = driver.wait(DEADLINE_S)
        pause(3)
        if picture is not None:
            draw(prometheus.url, picture, monotonic() - begin, rate_window="15s")
        store = open_store(str(out))
        return {
            "killed_at_units": killed_at,
            "exit_code": code,
            "receipts": sum(1 for _ in store.list("receipts/")),
            **report,
        }


def _report(prometheus: Prometheus) -> dict[str, Any]:
    """Return what is seen of the three runs. A second after the last kill all runs were scraped."""
    (done,) = prometheus.values('max by (plan) (ray_npd_units{state="done"})', "1s", "10m")
    (total,) = prometheus.values("sum by (plan) (ray_npd_candidates_total)", "1s", "10m")
    singles = prometheus.values("sum by (WorkerId) (ray_npd_candidates_total)", "1s", "10m")
    seconds = prometheus.values("count(ray_npd_units)", "1s", "10m")
    return {
        "drivers": len(singles),
        "units_done_never_fall": done == sorted(done),
        "candidates_of_the_plan_never_fall": total == sorted(total),
        "each_driver_starts_at_0": all(one[0] < 8 for one in singles),
        "candidates_at_last": total[-1],
        "candidates_by_driver": [one[-1] for one in singles],
        "scrapes_with_values": len(seconds[0]),
    }


if __name__ == "__main__":
    # The paths of Ray's sockets must be shorter than 108 characters.
    with (
        tempfile.TemporaryDirectory(prefix="npd-scraped-") as folder,
        tempfile.TemporaryDirectory(prefix="npd-ray-") as ray_folder,
    ):
        picture = Path(sys.argv[1]) if len(sys.argv) > 1 else None
        print(json.dumps(play(Path(folder), Path(ray_folder), picture), indent=2))
