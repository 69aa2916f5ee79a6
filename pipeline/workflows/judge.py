"""Preparation of a plan that judges more candidates of a sealed plan."""

from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.core.errors import UserError
from pipeline.core.log_records import LogFormat
from pipeline.storage.object_store import MAX_TABLE_BYTES, ObjectStore
from pipeline.storage.plans import dropped_key_of, read_plan, read_prompts, write_plan
from pipeline.storage.probe import probe
from pipeline.storage.success import sealed_plan
from pipeline.workflows.build import BuildContext
from pipeline.workflows.plan import make_plan


def open_judging(
    store: ObjectStore,
    config: Config,
    share: float,
    *,
    plan_id: str | None = None,
    log_format: LogFormat = "text",
) -> BuildContext:
    """Make the plan that judges a share of the candidates of a sealed plan, and store it beside it.

    Its units are computed, committed and sealed like those of any plan (``workflows/build.py``).
    They take the golden noises and the scores of the sealed plan and sample only the images that
    are missing. ``plan_id`` may be omitted if only one plan is sealed.

    Raises ``UserError`` if the sealed plan already judges as many candidates or judges another plan
    again, and if the configuration is that of another plan.
    """
    judged = read_plan(store, sealed_plan(store, plan_id).plan_id)
    _check(store, judged, share)
    given = make_plan(config)[0].plan_id
    if given != judged.plan_id:
        raise UserError(f"the configuration is that of plan {given}, not of {judged.plan_id}")
    probe(store)
    prompts = read_prompts(store, judged)
    key = dropped_key_of(judged)
    dropped = None if key is None else store.get(key, MAX_TABLE_BYTES)
    plan = write_plan(store, plan_of_share(judged, share), prompts, dropped)
    return BuildContext(
        store=store, config=config, plan=plan, prompts=prompts, log_format=log_format
    )


def plan_of_share(judged: Plan, share: float) -> Plan:
    """Return the plan that judges a share of the candidates of another plan."""
    judging = judged.settings.judging.model_copy(update={"share": share, "of": judged.plan_id})
    settings = judged.settings.model_copy(update={"judging": judging.explicit()})
    plan = judged.model_copy(update={"settings": settings})
    return plan.model_copy(update={"plan_id": plan.identity()})


def _check(store: ObjectStore, judged: Plan, share: float) -> None:
    name, judging = f"{store.url}: plan {judged.plan_id}", judged.settings.judging
    if judging.of is not None:
        raise UserError(f"{name} judges candidates of plan {judging.of}: judge more of that one")
    if judging.share is None:
        raise UserError(f"{name} judges all candidates")
    if share <= judging.share:
        raise UserError(f"{name} already judges {judging.share:g} of its candidates")
