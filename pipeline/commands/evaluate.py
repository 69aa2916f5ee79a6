"""The command ``npd evaluate``: a trial of noises on prompts that nothing was trained on."""

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.commands.console import console
from pipeline.config.file import load_config
from pipeline.storage.open import open_store

trials = typer.Typer()


@trials.command()
def evaluate(
    config: Annotated[
        str, typer.Option(help="A TOML file, or the bare name of one that ships with the package.")
    ],
    out: Annotated[Path, typer.Option(help="The folder for results, and for resuming.")],
    rewards: Annotated[
        str | None,
        typer.Option(help="A configuration whose rewards judge, in place of those of --config."),
    ] = None,
    npnet: Annotated[
        list[str] | None,
        typer.Option(help="A trained network: FOLDER or NAME=FOLDER; may be given repeatedly."),
    ] = None,
    allow_other_model: Annotated[
        bool, typer.Option("--allow-other-model", help="Also networks trained for another model.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="The data set it was trained on: no prompt or seed of it is used."),
    ] = None,
    unsigned: Annotated[
        bool, typer.Option("--unsigned", help="Read --data from a public bucket.")
    ] = False,
    prompts: Annotated[
        Path | None, typer.Option(help="Held-out prompts; else the data set's test split.")
    ] = None,
    prompt_column: Annotated[
        str, typer.Option(help="Field of the prompt, in JSONL and CSV.")
    ] = "prompt",
    category_column: Annotated[
        str | None, typer.Option(help="Field of the prompt's category, in JSONL and CSV.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=2, help="Only the first so many prompts.")
    ] = None,
    seeds_per_prompt: Annotated[int, typer.Option(min=1, help="Samples of each prompt.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Root of the samples' seeds.")] = 20_000,
    steps: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Steps of an image; else as configured.")
    ] = None,
    guidance: Annotated[
        list[float] | None,
        typer.Option(help="Scales at which to ask whether it still helps; else 2 and 5.5."),
    ] = None,
    plain_guidance: Annotated[
        list[float] | None,
        typer.Option(help="Scales at which plain guidance competes; else 1.5 and 2."),
    ] = None,
    limit_guidance: Annotated[
        int, typer.Option(min=2, help="Samples for comparisons with more evaluations.")
    ] = 256,
    limit_controls: Annotated[
        int | None, typer.Option(min=2, help="Samples for the controls; else all.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="Samples a batch; else as configured.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes; on GPUs one each.")] = 1,
) -> None:
    """Compare a network's noise with standard and golden noise, on held-out prompts.

    Killed, the same command goes on where it stood.
    """
    from pipeline.evaluate.trial.categories import read_categories, scene_categories
    from pipeline.evaluate.trial.held_out import held_out_prompts, read_data_set
    from pipeline.evaluate.trial.network import networks_of, refuse_other_networks
    from pipeline.evaluate.trial.run import compute, prepare, publish
    from pipeline.evaluate.trial.settings import Setup, TrialSettings

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
    console.print(
        f"{len(texts):,} prompts with {seeds_per_prompt} seeds each, {len(setup.entries())} arms, "
        f"{workers} workers"
    )
    if run.done:
        console.print(f"resuming: {run.done} of {len(run.files)} chunks are done")
    columns = (
        TextColumn("chunks"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("chunks", completed=run.done, total=len(run.files))
        for _ in compute(run, workers):
            progress.advance(bar)
    with console.status("writing the report"):
        publish(run)
    print((out / "summary.md").read_text("utf-8"))
    console.print(f"written: {out / 'trial.html'}, summary.html, trial.json", soft_wrap=True)
