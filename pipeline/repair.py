"""Damaged units computed again, on the same path as a build, beside the data set."""

from collections.abc import Sequence

from pipeline.build import Opened, compute
from pipeline.cluster.ray_session import ray_session
from pipeline.config import Config
from pipeline.errors import UserError
from pipeline.plan import Plan, PromptTable
from pipeline.publish.repair import Recompute
from pipeline.records import SCHEMA_VERSION
from pipeline.stages.planning import make_plan
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.plans import write_plan
from pipeline.storage.receipts import done_units


def recompute_on_ray(
    store: ObjectStore, config: Config | None, address: str | None = None
) -> Recompute:
    """How damaged units of a store are computed again; a repair that broke off is resumed.

    The function raises ``UserError`` without a configuration and for that of another plan, and as
    a build does.
    """

    def recompute(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        numbers = ", ".join(map(str, units[:5])) + (", …" if len(units) > 5 else "")
        damage = f"{len(units)} units of plan {plan.plan_id} have to be computed again ({numbers})"
        if config is None:
            raise UserError(f"{damage}; give the configuration of the build with --config")
        if plan.schema_version != SCHEMA_VERSION:
            raise UserError(
                f"{damage}, and the plan was written with schema_version {plan.schema_version}, "
                f"this computes {SCHEMA_VERSION}; repair it with the version that built it"
            )
        given = make_plan(config)[0].plan_id
        if given != plan.plan_id:
            raise UserError(f"{damage}, and the configuration is that of plan {given}")
        scratch = open_store(f"{store.url}/{layout.repairs_prefix(plan.plan_id)}".rstrip("/"))
        opened = Opened(
            store=scratch, config=config, plan=write_plan(scratch, plan, prompts), prompts=prompts
        )
        done = bytearray(b"\1" * plan.num_units)
        for unit in set(units) - set(done_units(scratch, plan.plan_id)):
            done[unit] = 0
        with ray_session(config.cluster, address):
            for _ in compute(opened, done):
                pass
        return scratch

    return recompute
