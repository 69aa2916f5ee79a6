"""Page of a data set or of a running build as HTML, stored with it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.plan import Plan
from pipeline.core.errors import AccessDeniedError, UserError, VerificationError
from pipeline.demo.scenes import scene_categories
from pipeline.evaluate.scores import read_scores
from pipeline.evaluate.set_page.page import SetContent, set_page
from pipeline.evaluate.set_page.pairs import PairReader, SealedPairs, UnitPairs
from pipeline.evaluate.set_page.run_record import RunRecord, ScoreCollector, receipts_of
from pipeline.evaluate.stored_controls import read_controls
from pipeline.evaluate.trial.samples import read_categories
from pipeline.storage import layout
from pipeline.storage.commits import done_units
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompts, stored_plans
from pipeline.storage.success import read_success
from pipeline.storage.worker_sums import WorkerSums, read_worker_sums


@dataclass(frozen=True, kw_only=True)
class PageOptions:
    """Options of a page besides the content of the store."""

    categories: Mapping[str, Sequence[str]] | None = None
    """Maps prompts to their categories. None for those that the demo's captions have."""
    price: float | None = None
    """Price of one worker per hour, or None."""


def page_options(
    price: float | None, categories: Path | None, prompt_column: str, category_column: str
) -> PageOptions:
    """Return the options of a page, with the categories of a CSV or JSONL file if there is one.

    Raises ``PromptFileError`` if the file cannot be read or has no such column.
    """
    if categories is None:
        return PageOptions(price=price)
    found = read_categories(categories, prompt_column, category_column)
    return PageOptions(price=price, categories=found)


def sealed_plan_page(
    store: ObjectStore,
    manifest: Manifest,
    options: PageOptions,
    *,
    target: ObjectStore,
    is_current: bool = True,
) -> str:
    """Make the page of a sealed version and store it in ``target``; return its key.

    Raises ``VerificationError`` if something that it shows is damaged.
    """
    plan = manifest.plan
    prompts = _prompts_of(store, plan)
    record = RunRecord(plan=plan)
    for receipt in receipts_of(store, plan, range(plan.num_units)):
        record.add(receipt)
    scores = read_scores(store, manifest)
    reader = SealedPairs(store=store, manifest=manifest, scores=scores)
    content = SetContent(
        url=store.url,
        plan=plan,
        manifest=manifest,
        prompts=prompts,
        scores=scores,
        record=record,
        workers=_worker_sums(store, plan.plan_id),
        controls=[
            control.row(plan.reward_names)
            for control in read_controls((store, target), plan.plan_id)
        ],
        reader=_if_stored(plan, reader),
        categories=_categories(prompts, options),
        price=options.price,
    )
    prefix = "" if is_current else f"v{manifest.version}-"
    return _write(target, plan, f"{prefix}report.html", set_page(content))


def running_plan_page(
    store: ObjectStore, plan_id: str, options: PageOptions, *, target: ObjectStore
) -> str:
    """Make the page of a plan that is not sealed and store it in ``target``; return its key.

    Raises ``VerificationError`` if something that it shows is damaged.
    """
    plan = read_plan(store, plan_id)
    prompts = _prompts_of(store, plan)
    record = RunRecord(plan=plan)
    collector = ScoreCollector(plan, prompts)
    done = done_units(store, plan_id, plan.num_units)
    for receipt in receipts_of(store, plan, done):
        record.add(receipt)
        collector.add(receipt.outcomes)
    content = SetContent(
        url=store.url,
        plan=plan,
        manifest=None,
        prompts=prompts,
        scores=collector.table(),
        record=record,
        workers=_worker_sums(store, plan_id),
        controls=[],
        reader=_if_stored(plan, UnitPairs(store=store, plan=plan)),
        categories=_categories(prompts, options),
        price=options.price,
    )
    return _write(target, plan, "report.html", set_page(content))


def running_plans(store: ObjectStore, plan_id: str | None) -> list[str]:
    """Return the plans that are not sealed, or only ``plan_id`` if it is one of them.

    Returns nothing if the credentials do not allow listing. Raises ``UserError`` if the store has
    no plan, or not that one.
    """
    sealed = _sealed(store)
    try:
        stored = stored_plans(store)
    except AccessDeniedError:
        return []
    known = {*stored, *sealed}
    if not known:
        raise UserError(f"{store.url}: no plan here; start a build with `npd build`")
    if plan_id is not None and plan_id not in known:
        raise UserError(f"{store.url}: no plan {plan_id!r}; there is {', '.join(sorted(known))}")
    return [each for each in stored if each not in sealed and plan_id in (None, each)]


def is_any_sealed(store: ObjectStore, plan_id: str | None) -> bool:
    """Return True if the plan is sealed, or any plan if ``plan_id`` is None."""
    sealed = _sealed(store)
    return bool(sealed) if plan_id is None else plan_id in sealed


def _sealed(store: ObjectStore) -> set[str]:
    success = read_success(store)
    return set() if success is None else {each.plan_id for each in success.manifests}


def _prompts_of(store: ObjectStore, plan: Plan) -> PromptTable:
    """Read the prompts of a plan. Raises ``VerificationError`` if its counts do not follow."""
    prompts = read_prompts(store, plan)
    candidates = prompts.table.num_rows * plan.seeds_per_prompt
    units = -(-candidates // plan.unit_size)
    # Memory and requests grow with both, so a forged plan must not choose them.
    if (plan.num_candidates, plan.num_units) != (candidates, units):
        raise VerificationError(
            f"{store.url}/{layout.plan_key(plan.plan_id)}: {plan.num_candidates:,} candidates in "
            f"{plan.num_units:,} units, and its prompts make {candidates:,} in {units:,}"
        )
    return prompts


def _worker_sums(store: ObjectStore, plan_id: str) -> list[WorkerSums]:
    """Return the sums of workers, or nothing if the credentials do not allow listing them."""
    try:
        return read_worker_sums(store, plan_id)
    except AccessDeniedError:
        return []


def _if_stored(plan: Plan, reader: PairReader) -> PairReader | None:
    """Return the reader if the data set stores pictures."""
    return None if plan.settings.output.images == "none" else reader


def _categories(prompts: PromptTable, options: PageOptions) -> Mapping[str, Sequence[str]]:
    texts: Iterable[str] = prompts.prompts
    return scene_categories(texts) if options.categories is None else options.categories


def _write(target: ObjectStore, plan: Plan, name: str, page: str) -> str:
    key = layout.report_key(plan.plan_id, name)
    target.put(key, page.encode())
    return key
