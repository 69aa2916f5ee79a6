"""A build without Ray and without faults, for comparison with other builds."""

from functools import partial

from pipeline.cluster.messages import Work
from pipeline.cluster.worker import UnitWorker
from pipeline.config.sections import Config
from pipeline.publish.compact import compact_in
from pipeline.publish.seal import seal
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Commit
from pipeline.workflows import build as steps


def build_without_ray(store: ObjectStore, config: Config) -> None:
    """Compute and seal in this process with a real worker, one unit at a time, without a driver."""
    opened = steps.open_build(store, config)
    worker = UnitWorker(store.url, opened.plan.plan_id, config)
    worker.set_up()
    for unit in range(opened.plan.num_units):
        summary = worker.run(Work(unit=unit))
        assert summary is not None and summary.commit is Commit.MINE
    seal(store, opened.plan, opened.prompts, partial(map, partial(compact_in, store)))
