"""Steps of a build: ``open_build``, ``sealed``, ``units_done``, ``compute``, ``publish``.

They are called in this order (``cli/build.py``). A build that runs again resumes: units with a
receipt are not computed again, and a sealed plan is not built again.
"""

import random
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.cluster.actor import spawn_worker
from pipeline.cluster.driver import Driver
from pipeline.cluster.metrics_publisher import MetricsPublisher
from pipeline.cluster.ray_session import map_tasks
from pipeline.config.notify import NotifyConfig
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.errors import PlanConflictError
from pipeline.core.log_records import LogFormat
from pipeline.models.resolved_models import ResolvedModels
from pipeline.monitor.build_monitor import BuildMonitor
from pipeline.monitor.progress import BuildProgress
from pipeline.monitor.samples import driver_samples
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.publish.compact import CompactedShard, ShardTask, compact
from pipeline.publish.seal import seal
from pipeline.storage.commits import done_units
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import stored_plans, write_plan
from pipeline.storage.probe import probe
from pipeline.storage.success import find_sealed, read_manifest
from pipeline.workflows.plan import plan_of, prompts_of


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """A plan, its configuration and prompts, and the store that it is built into."""

    store: ObjectStore
    config: Config
    plan: Plan
    prompts: PromptTable
    log_format: LogFormat = "text"
    """Format of the logs of workers."""


def open_build(
    store: ObjectStore, config: Config, *, add: bool = False, log_format: LogFormat = "text"
) -> BuildContext:
    """Make the plan of a configuration and store it, or find it in the store.

    Raise ``UserError`` if the configuration names missing files, ``StoreError`` if the store cannot
    be built into, and ``PlanConflictError`` if the store holds another plan and ``add`` is False.
    """
    models = ResolvedModels(config)
    chosen = prompts_of(config, models)
    plan, prompts = plan_of(config, models, chosen)
    # Commits rely on put-if-absent. A store that ignores it would lose data silently, so it is
    # tested before anything is written.
    probe(store)
    _check_other_plans(store, plan, add=add)
    stored = write_plan(store, plan, prompts, chosen.dropped)
    return BuildContext(
        store=store, config=config, plan=stored, prompts=prompts, log_format=log_format
    )


def sealed(context: BuildContext) -> Manifest | None:
    """Return the manifest if the plan is already sealed, else None."""
    found = find_sealed(context.store, context.plan.plan_id)
    return read_manifest(context.store, found) if found else None


def units_done(context: BuildContext) -> bytearray:
    """Return a byte for each unit: 1 if it has a receipt, else 0."""
    done = bytearray(context.plan.num_units)
    for unit in done_units(context.store, context.plan.plan_id, context.plan.num_units):
        done[unit] = 1
    return done


def monitored(context: BuildContext, progress: BuildProgress) -> BuildMonitor:
    """Return the monitor of this run, which writes heartbeats and sends notifications."""
    return BuildMonitor(context.store, context.plan.plan_id, context.config, progress)


def new_progress(done: bytearray) -> BuildProgress:
    """Return the progress of a build that starts with the units that are ``done``."""
    return BuildProgress(total=len(done), done=sum(done))


def metrics(context: BuildContext, progress: BuildProgress) -> MetricsPublisher:
    """Return a context manager that publishes the metrics of the driver. Ray is connected."""
    return MetricsPublisher(context.plan.plan_id, lambda: driver_samples(progress, context.config))


def compute(
    context: BuildContext,
    done: bytearray,
    stop: Callable[[], bool] = lambda: False,
    progress: BuildProgress | None = None,
) -> Iterator[UnitSummary]:
    """Compute every unit that is not done, on the connected Ray cluster.

    Yield one summary per unit, in any order. Raise ``UserError`` and ``PermanentStoreError`` at
    once, ``BuildError`` if a unit cannot be computed, and ``BuildStoppedError`` soon after ``stop``
    returns True. ``progress`` receives the counts of this run.
    """
    # Workers send no notifications, and the URL for them is a secret.
    config = context.config.model_copy(update={"notify": NotifyConfig()})
    driver = Driver(
        lambda: spawn_worker(context.store.url, context.plan.plan_id, config, context.log_format),
        context.config.cluster,
        unit_size=lambda unit: len(context.plan.unit_range(unit)),
        stop=stop,
        progress=progress,
    )
    return driver.run(unit for unit in in_random_order(len(done)) if not done[unit])


def in_random_order(num_units: int) -> Iterator[int]:
    """Yield the numbers of the units, in another order for every run.

    Two runs of one build would otherwise compute the same units at the same time from their first
    one to the last. The results of a running build are also a sample of the plan this way.
    """
    order = array("L", range(num_units))
    random.shuffle(order)
    return iter(order)


def publish(context: BuildContext) -> Manifest:
    """Compact and seal the plan on the connected Ray cluster. Raise the same errors as ``seal``."""
    in_flight = 2 * context.config.cluster.workers

    def on_cluster(tasks: Iterable[ShardTask]) -> Iterator[CompactedShard]:
        return map_tasks(compact, tasks, in_flight=in_flight)

    return seal(context.store, context.plan, context.prompts, on_cluster)


def _check_other_plans(store: ObjectStore, plan: Plan, *, add: bool) -> None:
    others = [other for other in stored_plans(store) if other != plan.plan_id]
    if others and not add:
        raise PlanConflictError(
            f"{store.url} already holds plan {', '.join(others)}, and this configuration is plan "
            f"{plan.plan_id}. Choose another output, or add this plan to it with --add"
        )
