"""The command ``npd report``, which reports on a sealed data set, and on a build as a page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show
from pipeline.cli.json_output import JsonOption, estimate_json, funnel_json, show_json
from pipeline.cli.outputs import check_output
from pipeline.config.file import load_config
from pipeline.core.errors import UserError
from pipeline.storage.durable import atomic_write
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: they import torch, which takes seconds.
    from pipeline.evaluate.report import ReportRow
    from pipeline.workflows.report import PlanReport


def report(
    url: UrlArgument,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Also sample with plain guidance at this scale, from the same source noises."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Configuration of the build; --guidance needs its models.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also write the picture of sample pairs to this file.")
    ] = None,
    plan: PlanOption = None,
    version: VersionOption = None,
    out: Annotated[
        str | None,
        typer.Option(help="Path or URL for the report. Default: the store of the data set."),
    ] = None,
    html: Annotated[
        bool,
        typer.Option(
            "--html", help="Also write report.html, a page; it also works while a build runs."
        ),
    ] = False,
    price: Annotated[
        float | None,
        typer.Option(min=0, max=1e9, help="Price of a worker and its GPU per hour; for the page."),
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(help="CSV or JSONL file with the categories of prompts; for the page."),
    ] = None,
    prompt_column: Annotated[
        str | None, typer.Option(help="Field with the prompt in --categories. Default: prompt.")
    ] = None,
    category_column: Annotated[
        str | None,
        typer.Option(help="Field with the category in --categories. Default: category."),
    ] = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Report on a sealed data set: funnel, gains, controls and a picture of sample pairs.

    With --html, also write a page of it, or of a build that is not sealed yet.
    """
    from pipeline.storage.success import sealed_plans
    from pipeline.storage.versions import choose_versions
    from pipeline.workflows.page import (
        is_any_sealed,
        page_options,
        running_plan_page,
        running_plans,
        sealed_plan_page,
    )
    from pipeline.workflows.report import report_plan

    if (guidance is None) != (config is None):
        raise UserError(
            "--guidance and --config must be given together; --guidance needs the models"
        )
    columns = (prompt_column, category_column)
    if categories is None and columns != (None, None):
        raise UserError("--prompt-column and --category-column need --categories")
    store = open_store(url, unsigned=unsigned)
    target = store if out is None else open_store(out)
    page = (
        page_options(price, categories, prompt_column or "prompt", category_column or "category")
        if html
        else None
    )
    if page is None and (price is not None or categories is not None):
        raise UserError("--price and --categories are for the page; add --html")
    listed: list[dict[str, Any]] = []
    pages: list[str] = []
    running = running_plans(store, plan) if page is not None and version is None else []
    for plan_id in running:
        assert page is not None, "plans that run are listed for their pages only"
        key = running_plan_page(store, plan_id, page, target=target)
        pages.append(key)
        console.print(f"written: {target.url}/{key}", soft_wrap=True)
    if running and not is_any_sealed(store, plan):
        if as_json:
            show_json({"url": target.url, "pages": pages, "plans": listed})
        return
    current = sealed_plans(store, plan)
    if picture is not None:
        check_output(picture)
        if len(current) > 1:
            raise UserError(
                f"{store.url} holds {len(current)} plans and --picture names one file; choose one "
                f"with --plan: {', '.join(sealed.plan_id for sealed in current)}"
            )
    settings = None if config is None else load_config(config)
    chosen = choose_versions(store, current, version)
    if picture is not None and chosen[0][1].plan.settings.output.images == "none":
        raise UserError(f"{store.url} stores no images, so there is no picture; omit --picture")
    for sealed, manifest in chosen:
        made = report_plan(
            store, manifest, settings, guidance, target=target, is_current=sealed in current
        )
        if as_json:
            listed.append(_plan_json(manifest, made, is_current=sealed in current))
        else:
            show(made.text)
        for key in made.keys:
            console.print(f"written: {target.url}/{key}", soft_wrap=True)
        if page is not None:
            is_current = sealed in current
            key = sealed_plan_page(store, manifest, page, target=target, is_current=is_current)
            pages.append(key)
            console.print(f"written: {target.url}/{key}", soft_wrap=True)
        if picture is None:
            continue
        if made.picture is None:
            console.print("no picture: no pair was kept")
        else:
            atomic_write(picture, [made.picture])
            console.print(f"written: {picture}", soft_wrap=True)
    if as_json:
        show_json({"url": target.url, "pages": pages, "plans": listed})


def _plan_json(manifest: Manifest, made: "PlanReport", *, is_current: bool) -> dict[str, Any]:
    candidates, kept = made.rows()
    return {
        "plan_id": manifest.plan_id,
        "version": manifest.version,
        "is_current": is_current,
        "keys": made.keys,
        "funnel": funnel_json(manifest.funnel),
        "candidates": list(map(_row_json, candidates)),
        "kept": list(map(_row_json, kept)),
    }


def _row_json(row: "ReportRow") -> dict[str, Any]:
    return {
        "name": row.name,
        "evaluations": row.evaluations,
        "rewards": [
            {
                "reward": reward,
                "pairs": gain and gain.num_pairs,
                "standard": gain and gain.standard,
                "mean": gain and gain.other,
                "gain": gain and estimate_json(gain.gain),
                "win_share": gain and estimate_json(gain.wins),
            }
            for reward, gain in row.gains.items()
        ],
    }
