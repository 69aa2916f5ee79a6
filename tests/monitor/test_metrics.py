"""Declarations of the metrics, and the samples of the driver and of a worker."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import pytest

from pipeline.cluster.messages import Work
from pipeline.cluster.worker import UnitWorker
from pipeline.config.sections import Config
from pipeline.core.records import Status
from pipeline.monitor.metrics import METRICS
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.samples import Sample, driver_samples
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import read_receipt
from pipeline.workflows.plan import make_plan
from tests.sealed import changed, write_config


def test_metrics_have_distinct_names_and_ascii_descriptions() -> None:
    """Ray's counters accept no other text."""
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.description.isascii() for metric in METRICS)


def test_metrics_of_a_unit_are_those_of_its_receipt(tmp_path: Path) -> None:
    """A real unit, counted by worker and driver, against its stored outcomes."""
    price = {"gpus_per_worker": 0.5, "price_per_gpu_hour": 7.2}
    config = write_config(tmp_path, changed(cluster=price))
    plan, prompts = make_plan(config)
    store = open_store(str(tmp_path / "out"))
    write_plan(store, plan, prompts)
    worker = UnitWorker(store.url, plan.plan_id, config)
    worker.set_up()
    summary = worker.run(Work(unit=0))
    assert summary is not None
    progress = BuildProgress(total=plan.num_units)
    progress.add(summary)
    progress.worker_seconds = 100.0

    receipt = read_receipt(store, plan.plan_id, 0)
    driver, of_worker = _values(driver_samples(progress, config)), _values(worker.samples())
    found = Counter((one.status.value, one.reason or "") for one in receipt.outcomes)
    assert len(found) > 1, "some are kept and some are not"
    for (status, reason), count in found.items():
        assert driver["candidates", status, reason] == count
    for reward, role in (("scene", "select"), ("oracle", "judge")):
        for status in (Status.KEPT, Status.REJECTED):
            gains = [
                one.golden_rewards[reward] - one.source_rewards[reward]  # type: ignore[operator]  # the demo's rewards score every image
                for one in receipt.outcomes
                if one.status is status
            ]
            series = (reward, role, status.value)
            total = driver["reward_gain", *series] - driver["reward_loss", *series]
            assert total == pytest.approx(sum(gains))
            assert driver["reward_scored", *series] == len(gains)
            assert driver["reward_wins", *series] == sum(gain > 0 for gain in gains)
            assert driver["reward_gain_squares", *series] == pytest.approx(
                sum(gain**2 for gain in gains)
            )
    assert driver["units", "done"] == 1
    assert driver["units", "waiting"] == plan.num_units - 1
    assert driver["forward_evaluations",] == receipt.forward_evaluations
    assert driver["gpu_seconds",] == 50
    assert driver["cost",] == pytest.approx(0.1)
    for status in Status:
        assert of_worker["worker_candidates", status.value] == receipt.count(status)
    stages = {name[1]: value for name, value in of_worker.items() if name[0] == "stage_seconds"}
    assert all(seconds > 0 for seconds in stages.values())
    # Pictures of a batch are packed while the next batch computes.
    compute = sum(stages.values()) - stages["upload"] - stages["pack"]
    assert compute <= receipt.compute_seconds + 0.001  # which is rounded
    assert of_worker["worker_steps",] == worker.heartbeat.count


def test_metrics_price_does_not_change_the_plan(tmp_path: Path) -> None:
    def plan_id(config: Config) -> str:
        return make_plan(config)[0].plan_id

    priced = write_config(tmp_path, changed(cluster={"price_per_gpu_hour": 2.5}))
    assert plan_id(priced) == plan_id(write_config(tmp_path))


def _values(samples: Iterable[Sample]) -> dict[tuple[str, ...], float]:
    """Map the name and the labels of each sample to its value, and check its declaration."""
    found = {}
    for sample in samples:
        assert ("plan", *sample.tags) == sample.metric.tags
        found[sample.metric.name.removeprefix("npd_"), *sample.tags.values()] = sample.value
    return found
