"""Repairs that need the configuration of the build: units and the list of dropped prompts."""

from collections.abc import Iterator, Sequence

from pipeline.cluster.ray_session import ray_session
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.errors import UserError, VerificationError
from pipeline.core.identity import sha256
from pipeline.core.quantities import counted
from pipeline.core.records import SCHEMA_VERSION
from pipeline.models.resolved_models import ResolvedModels
from pipeline.publish.repair import Recompute
from pipeline.publish.repair.units import is_intact
from pipeline.storage import layout
from pipeline.storage.commits import done_units
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.object_store import MAX_TABLE_BYTES, ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.plans import dropped_key_of, read_plan, write_plan
from pipeline.storage.success import read_success
from pipeline.workflows.build import BuildContext, compute
from pipeline.workflows.plan import make_plan, plan_of, prompts_of


def recompute_on_ray(
    store: ObjectStore, config: Config | None, address: str | None = None
) -> Recompute:
    """Return a function that computes damaged units again, and resumes an interrupted repair.

    The function raises ``UserError`` if the configuration is missing or belongs to another plan,
    and the same errors as a build.
    """

    def recompute(plan: Plan, prompts: PromptTable, units: Sequence[int]) -> ObjectStore:
        numbers = ", ".join(map(str, units[:5])) + (", …" if len(units) > 5 else "")
        amount = counted(len(units), "unit")
        damage = f"{amount} of plan {plan.plan_id} must be computed again ({numbers})"
        if config is None:
            raise UserError(f"{damage}; give the configuration of the build with --config")
        if plan.schema_version < SCHEMA_VERSION:
            raise UserError(
                f"{damage}, and the plan was written with schema_version {plan.schema_version}, "
                f"this computes {SCHEMA_VERSION} or later; repair it with the version that built "
                "it"
            )
        if plan.settings.judging.of is not None:
            raise UserError(
                f"{damage}, and it judges candidates of another plan: remove it and run "
                "`npd judge` again, or restore the objects from a copy"
            )
        # A plan id covers the contents of all input files, so equal ids mean equal computations.
        given = make_plan(config)[0].plan_id
        if given != plan.plan_id:
            raise UserError(f"{damage}, and the configuration is that of plan {given}")
        # Units are computed in a separate store. They replace the damaged ones only after their
        # digests are checked, and an interrupted repair finds its finished units here.
        scratch = open_store(f"{store.url}/{layout.repairs_prefix(plan.plan_id)}".rstrip("/"))
        opened = BuildContext(
            store=scratch, config=config, plan=write_plan(scratch, plan, prompts), prompts=prompts
        )
        # All units count as done, except the damaged ones that an earlier repair did not finish.
        done = bytearray(b"\1" * plan.num_units)
        for unit in set(units) - set(done_units(scratch, plan.plan_id, plan.num_units)):
            done[unit] = 0
        with ray_session(config.cluster, address):
            for _ in compute(opened, done):
                pass
        return scratch

    return recompute


def restore_dropped(store: ObjectStore, config: Config | None) -> Iterator[str]:
    """Restore damaged lists of dropped prompts and yield their keys.

    The lists are computed from the sources of the prompts. Raise ``UserError`` without the
    configuration of the plan, and ``VerificationError`` if its sources now drop other prompts.
    """
    success = read_success(store)
    for sealed in success.manifests if success else ():
        plan = read_plan(store, sealed.plan_id)
        key = dropped_key_of(plan)
        digest = plan.prompt_funnel.dropped_sha256
        if key is None or digest is None:
            continue
        if not is_intact(store, key, digest, MAX_TABLE_BYTES):
            store.put(key, _dropped_again(plan, config, f"{store.url}/{key}"))
            yield key


def _dropped_again(plan: Plan, config: Config | None, where: str) -> bytes:
    damage = f"{where}: the list of dropped prompts is damaged"
    if config is None:
        raise UserError(f"{damage}; give the configuration of the build with --config")
    models = ResolvedModels(config)
    chosen = prompts_of(config, models)
    given = plan_of(config, models, chosen)[0].plan_id
    if given != plan.plan_id:
        raise UserError(f"{damage}, and the configuration is that of plan {given}")
    if sha256(chosen.dropped) != plan.prompt_funnel.dropped_sha256:
        raise VerificationError(
            f"{damage}, and the sources drop other prompts now, or another pyarrow version writes "
            "them; the list stays as it is, and no other data is affected"
        )
    return chosen.dropped
