"""A worker or task with other software is refused with both versions, before it computes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import ray

from pipeline.cluster.actor import WorkerActor
from pipeline.cluster.driver import Driver
from pipeline.cluster.ray_session import map_tasks
from pipeline.cluster.software import Software, check_software
from pipeline.core.errors import ClusterError
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.workflows.plan import make_plan
from tests.sealed import write_config

DRIVER = Software.here()


def _with(**versions: str) -> Software:
    return replace(DRIVER, host="worker-7", versions={**DRIVER.versions, **versions})


def test_same_software_is_accepted() -> None:
    check_software(DRIVER)
    assert {"python", "ray", "torch", "diffusers", "noise-prompt-dataset"} <= {*DRIVER.versions}


@pytest.mark.parametrize(
    ("driver", "worker", "accepted"),
    [
        ("2.13.0+cpu", "2.13.0+cu130", True),
        ("2.13.0+cu130", "2.13.0+cpu", True),
        ("2.13.0+cu126", "2.13.0+cu130", False),
        ("2.13.0", "2.13.1", False),
        ("2.13.0", "none", False),
    ],
)
def test_build_for_the_cpu_equals_one_for_gpus(driver: str, worker: str, accepted: bool) -> None:
    one, other = _with(torch=driver), _with(torch=worker)
    if accepted:
        check_software(one, other)
        return
    with pytest.raises(ClusterError, match="torch") as raised:
        check_software(one, other)
    assert f"torch {worker} instead of {driver}" in str(raised.value)


def _older_diffusers(folder: Path) -> dict[str, Any]:
    """Return options of a Ray process that finds another version of diffusers."""
    installed = folder / "site" / "diffusers-0.1.2.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: diffusers\nVersion: 0.1.2\n")
    return {"runtime_env": {"env_vars": {"PYTHONPATH": str(installed.parent)}}}


@pytest.mark.usefixtures("ray_cluster")
def test_worker_with_another_version_ends_the_build_before_a_unit(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    plan, prompts = make_plan(config)
    store = open_store(str(tmp_path / "out"))
    write_plan(store, plan, prompts)
    driver = replace(DRIVER, host="head-1")
    actor = ray.remote(WorkerActor).options(
        num_cpus=1, max_restarts=0, **_older_diffusers(tmp_path)
    )
    build = Driver(
        lambda: actor.remote(store.url, plan.plan_id, config, driver),
        config.cluster,
        unit_size=lambda unit: len(plan.unit_range(unit)),
    )
    with pytest.raises(ClusterError) as raised:
        [*build.run(range(plan.num_units))]
    version = DRIVER.versions["diffusers"]
    assert f"{DRIVER.host} has other software than head-1" in str(raised.value)
    assert f"diffusers 0.1.2 instead of {version}. " in str(raised.value)
    assert [*store.list("receipts/")] == []


@pytest.mark.usefixtures("ray_cluster")
def test_task_on_another_version_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [*map_tasks(abs, [-1], in_flight=1)] == [1]
    older = replace(DRIVER, host="head-1", versions={**DRIVER.versions, "pyarrow": "1.0"})
    monkeypatch.setattr(Software, "here", lambda: older)
    with pytest.raises(ClusterError, match=r"pyarrow \S+ instead of 1\.0"):
        next(map_tasks(abs, [-1], in_flight=1))
