"""The command ``npd report``, which reports on a sealed data set, and on a build as a page."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show
from pipeline.cli.outputs import check_output
from pipeline.config.file import load_config
from pipeline.core.errors import UserError
from pipeline.storage.durable import atomic_write
from pipeline.storage.open import open_store


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
        typer.Option(min=0, help="Price of a worker, with its GPU, per hour; for the page."),
    ] = None,
    categories: Annotated[
        Path | None,
        typer.Option(help="CSV or JSONL file with the categories of prompts; for the page."),
    ] = None,
    prompt_column: Annotated[
        str, typer.Option(help="Field with the prompt in --categories.")
    ] = "prompt",
    category_column: Annotated[
        str, typer.Option(help="Field with the category in --categories.")
    ] = "category",
    unsigned: UnsignedOption = False,
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
    store = open_store(url, unsigned=unsigned)
    target = store if out is None else open_store(out)
    page = page_options(price, categories, prompt_column, category_column) if html else None
    if page is None and (price is not None or categories is not None):
        raise UserError("--price and --categories are for the page; add --html")
    running = running_plans(store, plan) if page is not None and version is None else []
    for plan_id in running:
        assert page is not None, "plans that run are listed for their pages only"
        key = running_plan_page(store, plan_id, page, target=target)
        console.print(f"written: {target.url}/{key}", soft_wrap=True)
    if running and not is_any_sealed(store, plan):
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
        show(made.text)
        for key in made.keys:
            console.print(f"written: {target.url}/{key}", soft_wrap=True)
        if page is not None:
            is_current = sealed in current
            key = sealed_plan_page(store, manifest, page, target=target, is_current=is_current)
            console.print(f"written: {target.url}/{key}", soft_wrap=True)
        if picture is None:
            continue
        if made.picture is None:
            console.print("no picture: no pair was kept")
        else:
            atomic_write(picture, [made.picture])
            console.print(f"written: {picture}", soft_wrap=True)
