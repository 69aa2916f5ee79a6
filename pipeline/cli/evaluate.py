"""The command ``npd evaluate``, which runs a trial of noises on held-out prompts."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.cli.arguments import LogFileOption, LogFormatOption
from pipeline.cli.console import console, show
from pipeline.cli.logs import logging_of, remark, remark_log, report_progress
from pipeline.cli.outputs import check_output_folder
from pipeline.cli.progress import LINE_S
from pipeline.config.file import load_config
from pipeline.core.quantities import counted
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: it imports torch, which takes seconds.
    from pipeline.evaluate.trial.run import TrialRun

trials = typer.Typer()


@trials.command()
def evaluate(
    config: Annotated[
        str, typer.Option(help="A TOML file, or the name of a shipped configuration.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the results; a run is resumed from it.")],
    rewards: Annotated[
        str | None,
        typer.Option(help="Configuration whose rewards replace those of --config."),
    ] = None,
    npnet: Annotated[
        list[str] | None,
        typer.Option(help="A trained network: FOLDER or NAME=FOLDER. May be repeated."),
    ] = None,
    allow_other_model: Annotated[
        bool, typer.Option("--allow-other-model", help="Accept networks trained for another model.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Training data set of the networks; seen prompts and seeds are excluded."
        ),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Read --data without credentials.")
    ] = False,
    prompts: Annotated[
        Path | None,
        typer.Option(help="File of held-out prompts. Default: the test split of --data."),
    ] = None,
    prompt_column: Annotated[
        str, typer.Option(help="Field with the prompt, in JSONL and CSV.")
    ] = "prompt",
    category_column: Annotated[
        str | None, typer.Option(help="Field with the category of the prompt, in JSONL and CSV.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=2, help="Use only the first N prompts.")] = None,
    seeds_per_prompt: Annotated[int, typer.Option(min=1, help="Samples per prompt.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Root seed of the samples.")] = 20_000,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Inference steps. Default: as configured.")
    ] = None,
    guidance: Annotated[
        list[float] | None,
        typer.Option(help="Guidance scales to test the noises at. Default: 2 and 5.5."),
    ] = None,
    plain_guidance: Annotated[
        list[float] | None,
        typer.Option(help="Guidance scales of the plain-guidance arms. Default: 1.5 and 2."),
    ] = None,
    limit_guidance: Annotated[
        int, typer.Option(min=2, help="Samples for comparisons that use more evaluations.")
    ] = 256,
    limit_controls: Annotated[
        int | None, typer.Option(min=2, help="Samples for the controls. Default: all.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples per batch. Default: as configured.")
    ] = None,
    workers: Annotated[
        int, typer.Option(min=1, help="Number of processes; on GPUs, one per GPU.")
    ] = 1,
    log_format: LogFormatOption = "text",
    log_file: LogFileOption = None,
) -> None:
    """Compare noise of networks and golden noise with other methods of equal cost.

    The prompts are held out and the seeds are unseen.

    After an interruption, the same command continues from the last finished chunk.
    """
    from pipeline.demo.scenes import scene_categories
    from pipeline.evaluate.trial.run import prepare, publish
    from pipeline.evaluate.trial.samples import held_out_prompts, read_categories, read_data_set
    from pipeline.evaluate.trial.settings import (
        Setup,
        TrialSettings,
        networks_of,
        refuse_other_networks,
    )

    check_output_folder(out)
    with logging_of("evaluate", log_format, log_file) as log:
        settings = load_config(config)
        if rewards is not None:
            settings = settings.model_copy(update={"rewards": load_config(rewards).rewards})
        sampling = settings.sampling
        if steps is not None:
            sampling = sampling.model_copy(update={"num_inference_steps": steps})
        data_set = None if data is None else read_data_set(open_store(data, unsigned=unsigned))
        texts = held_out_prompts(prompts, prompt_column, data_set)[:limit]
        if prompts is None or category_column is None:
            categories = scene_categories(texts)
        else:
            categories = read_categories(prompts, prompt_column, category_column)
        networks = networks_of(npnet or [])
        refuse_other_networks(networks, settings.model, allow_other_model=allow_other_model)
        setup = Setup(
            settings,
            networks,
            TrialSettings(
                sampling=sampling,
                seeds_per_prompt=seeds_per_prompt,
                seed=seed,
                batch_size=batch_size or settings.units.batch_size,
                guidance=tuple(guidance if guidance is not None else (2.0, 5.5)),
                plain_guidance=tuple(plain_guidance if plain_guidance is not None else (1.5, 2.0)),
                limit_guidance=limit_guidance,
                limit_controls=limit_controls,
            ),
        )
        run = prepare(setup, texts, categories, data_set, out)
        remark(
            f"{counted(len(texts), 'prompt')} with {counted(seeds_per_prompt, 'seed')} each, "
            f"{counted(len(setup.arm_specs()), 'arm')}, {counted(workers, 'worker')}"
        )
        remark_log(log)
        if run.done:
            remark(f"resuming: {run.done:,} of {counted(len(run.files), 'chunk')} done before")
        _compute(run, workers, lines=log_format == "json" or not console.is_terminal)
        remark("writing the report")
        publish(run)
        show((out / "summary.md").read_text("utf-8"))
        remark(f"written: {out / 'trial.html'}, summary.html, trial.json")


def _compute(run: "TrialRun", workers: int, *, lines: bool) -> None:
    """Compute the missing chunks with a bar, or with a line a minute for logs."""
    from pipeline.evaluate.trial.run import compute

    done, total = run.done, len(run.files)
    with nullcontext() if lines else _bar(done, total) as advance:
        printed = monotonic()
        for _ in compute(run, workers):
            done += 1
            if advance is not None:
                advance()
            elif done == total or monotonic() - printed > LINE_S:
                printed = monotonic()
                report_progress(f"chunks {done:,} of {total:,} ({done / total:.0%})")


@contextmanager
def _bar(done: int, total: int) -> Iterator[Callable[[], None]]:
    columns = (
        TextColumn("chunks"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("chunks", completed=done, total=total)
        yield lambda: progress.advance(bar)
