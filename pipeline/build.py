"""A whole build, in the order of its steps: plan, compute, seal.

Running it again resumes: units with a receipt are not computed again, and a sealed plan is done.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from pipeline.cluster.driver import Driver
from pipeline.cluster.ray_session import spawn_worker
from pipeline.cluster.summary import UnitSummary
from pipeline.cluster.tasks import map_tasks
from pipeline.config.sections import Config
from pipeline.errors import PlanConflictError
from pipeline.plan import Plan, PromptTable
from pipeline.publish.compact import CompactedShard, ShardTask, compact
from pipeline.publish.seal import seal
from pipeline.stages.planning import plan_of, prompts_of
from pipeline.storage.manifest import Manifest, read_manifest, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import stored_plans, write_plan
from pipeline.storage.probe import probe
from pipeline.storage.receipts import done_units


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """A plan and the store that it is built into."""

    store: ObjectStore
    config: Config
    plan: Plan
    prompts: PromptTable


def open_build(store: ObjectStore, config: Config, *, add: bool = False) -> BuildContext:
    """Fix the plan and put it into the store, or find it there.

    Raises ``UserError`` for what the configuration names and is not there, ``StoreError`` for a
    store that cannot be built into, and ``PlanConflictError`` if the store holds another plan and
    ``add`` is not asked for.
    """
    chosen = prompts_of(config)
    plan, prompts = plan_of(config, chosen)
    probe(store)
    others = [other for other in stored_plans(store) if other != plan.plan_id]
    if others and not add:
        raise PlanConflictError(
            f"{store.url} already holds plan {', '.join(others)}, and this configuration is plan "
            f"{plan.plan_id}. Choose another output, or add this plan beside it with --add"
        )
    stored = write_plan(store, plan, prompts, chosen.dropped)
    return BuildContext(store=store, config=config, plan=stored, prompts=prompts)


def sealed(opened: BuildContext) -> Manifest | None:
    """The manifest, if the plan is already sealed."""
    success = read_success(opened.store)
    found = success.of(opened.plan.plan_id) if success else None
    return read_manifest(opened.store, found) if found else None


def units_done(opened: BuildContext) -> bytearray:
    """Return a byte for each unit: 1 if it has a receipt, else 0."""
    done = bytearray(opened.plan.num_units)
    for unit in done_units(opened.store, opened.plan.plan_id, opened.plan.num_units):
        done[unit] = 1
    return done


def compute(
    opened: BuildContext, done: bytearray, stop: Callable[[], bool] = lambda: False
) -> Iterator[UnitSummary]:
    """Have every unit that is not done computed, on the Ray that is connected.

    Yields a summary a unit, in any order. Raises what a person has to mend at once, ``BuildError``
    for a unit that cannot be computed, and ``BuildStoppedError`` soon after ``stop`` says so.
    """
    driver = Driver(
        lambda: spawn_worker(opened.store.url, opened.plan.plan_id, opened.config),
        opened.config.cluster,
        unit_size=lambda unit: len(opened.plan.unit_range(unit)),
        stop=stop,
    )
    return driver.run(unit for unit, is_done in enumerate(done) if not is_done)


def publish(opened: BuildContext) -> Manifest:
    """Compact and seal, on the Ray that is connected. Raises as ``seal`` does."""
    in_flight = 2 * opened.config.cluster.workers

    def on_cluster(tasks: Iterable[ShardTask]) -> Iterator[CompactedShard]:
        return map_tasks(compact, tasks, in_flight=in_flight)

    return seal(opened.store, opened.plan, opened.prompts, on_cluster)
