"""The command ``npd judge``, which judges more candidates of a sealed data set."""

import shlex
from typing import Annotated

import typer

from pipeline.cli.arguments import LogFileOption, LogFormatOption, UrlArgument
from pipeline.cli.build import run_build, settings_of, show_sealed, show_start
from pipeline.cli.logs import logging_of, remark
from pipeline.storage.open import open_store


def judge(
    url: UrlArgument,
    share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of the candidates to judge, below 1.")
    ],
    config: Annotated[str, typer.Option(help="Configuration with which the data set was built.")],
    plan: Annotated[
        str | None, typer.Option(help="Plan to judge. Needed if several are sealed.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of workers; overrides the configuration.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster. Default: RAY_ADDRESS, or a local Ray."),
    ] = None,
    log_format: LogFormatOption = "text",
    log_file: LogFileOption = None,
) -> None:
    """Judge more candidates of a sealed data set, of which a sample was judged.

    The result is a new plan beside the old one, which readers no longer read by default. Golden
    noises are not made again. An interrupted run is resumed by the same command.
    """
    from pipeline.workflows.build import sealed
    from pipeline.workflows.judge import open_judging

    context = open_judging(
        open_store(url),
        settings_of(config, workers),
        share,
        plan_id=plan,
        log_format=log_format,
    )
    plan_id = context.plan.plan_id
    with logging_of(plan_id, log_format, log_file, plan_id=plan_id) as log:
        if found := sealed(context):
            remark("already sealed; nothing to do")
            show_sealed(found, context.store.url, log_format)
            return
        show_start(context, log)
        judged = context.plan.settings.judging.of or ""
        resume = ["npd", "judge", url, "--share", f"{share:g}", "--config", config]
        options = [] if workers is None else ["--workers", str(workers)]
        command = shlex.join([*resume, "--plan", judged, *options])
        manifest = run_build(context, address, resume=command, log=log)
        show_sealed(manifest, context.store.url, log_format)
