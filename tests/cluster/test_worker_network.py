"""A worker of a plan that proposes with a noise prompt network."""

from pathlib import Path

import pytest

from pipeline.cluster.messages import Work
from pipeline.cluster.worker import UnitWorker
from pipeline.core.errors import ModelError
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import read_receipt
from pipeline.workflows.plan import make_plan
from tests.npnet.layouts import shaken
from tests.sealed import demo_prompts, write_config
from tests.stages.test_network_proposer import LAYOUT, settings


@pytest.fixture
def worker(tmp_path: Path) -> UnitWorker:
    """A worker that has not loaded its models yet."""
    shaken(LAYOUT).save(tmp_path / "network")
    config = write_config(tmp_path, settings(tmp_path / "network"), prompts=demo_prompts(3))
    plan, prompts = make_plan(config)
    store = open_store(str(tmp_path / "out"))
    write_plan(store, plan, prompts)
    return UnitWorker(store.url, plan.plan_id, config)


def test_worker_loads_the_network_and_counts_it(worker: UnitWorker, tmp_path: Path) -> None:
    worker.set_up()
    assert worker.run(Work(unit=0)) is not None
    receipt = read_receipt(worker._store, worker._plan.plan_id, 0)
    assert receipt.forward_evaluations == len(receipt.outcomes) * (2 * 4 + 1)
    for outcome in receipt.outcomes:
        assert outcome.noise_stats is not None
        assert outcome.noise_stats.relative_change > 0.01


def test_worker_with_another_network_than_the_plans_is_refused(
    worker: UnitWorker, tmp_path: Path
) -> None:
    shaken(LAYOUT, seed=1).save(tmp_path / "network")
    with pytest.raises(ModelError, match=r"network: its files on .* are not those of the plan"):
        worker.set_up()


def test_worker_without_the_network_is_refused(worker: UnitWorker, tmp_path: Path) -> None:
    (tmp_path / "network" / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no noise prompt network here"):
        worker.set_up()
