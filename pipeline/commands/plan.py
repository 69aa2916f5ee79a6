"""The command ``npd plan``: what a build will compute and cost, before anything is built.

With the models at hand it measures on this machine. Without them it goes by what is published of
the model: before a GPU is rented and a weight is fetched.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.commands.arguments import ConfigArgument
from pipeline.commands.console import human_bytes, human_seconds, prompt_lines
from pipeline.commands.output import write_output
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.errors import ModelError

if TYPE_CHECKING:
    from pipeline.costs.architectures import Architecture
    from pipeline.costs.gpu_hours import GpuHours
    from pipeline.plan import Plan
    from pipeline.prompts.choosing import ChosenPrompts

plans = typer.Typer()

Lines = Iterator[tuple[str, str]]


@plans.command()
def plan(
    config: ConfigArgument,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="GPUs, in place of the configured number of workers.")
    ] = None,
    dropped: Annotated[
        Path | None,
        typer.Option(help="Also write the dropped prompts, with their reasons, to this Parquet."),
    ] = None,
) -> None:
    """Say what a build will compute and cost, without building anything."""
    from pipeline.stages.planning import prompts_of

    settings = load_config(config)
    chosen = prompts_of(settings)
    if dropped is not None:
        write_output(dropped, chosen.dropped)
    for name, value in _describe(settings, chosen, gpus or settings.cluster.workers):
        print(f"{name:20} {value}")


def _describe(config: Config, chosen: "ChosenPrompts", gpus: int) -> Lines:
    from pipeline.costs.architectures import architecture_of
    from pipeline.costs.missing import missing_models

    missing = missing_models(config)
    architecture = architecture_of(config.model)
    if not missing:
        yield from _measured(config, chosen, gpus)
    elif architecture is None:
        raise ModelError("\n".join(map(str, missing)))
    else:
        yield "plan", "without an id until all models are here"
        for error in missing:
            yield "missing", str(error)
        yield from _published(config, chosen, architecture, gpus)


def _measured(config: Config, chosen: "ChosenPrompts", workers: int) -> Lines:
    """By the models, on this machine."""
    from pipeline.evaluate.estimate import estimate
    from pipeline.stages.planning import plan_of

    plan, prompts = plan_of(config, chosen)
    cost = estimate(plan, prompts, config)
    seconds = plan.num_candidates * cost.seconds_per_candidate / workers
    yield "plan", plan.plan_id
    yield from _sizes(plan, config, cost.evaluations_per_candidate, cost.bytes_per_pair)
    yield (
        "time",
        f"about {human_seconds(seconds)} on {workers} workers like this machine "
        f"({cost.seconds_per_candidate:.3f} s a candidate)",
    )


def _published(
    config: Config, chosen: "ChosenPrompts", architecture: "Architecture", gpus: int
) -> Lines:
    """By what is published of the model."""
    from pipeline.costs.gpu_hours import gpu_hours
    from pipeline.costs.pair_bytes import pair_bytes
    from pipeline.stages.build_spec import BuildSpec
    from pipeline.stages.planning import draft_plan

    plan, prompts = draft_plan(config, chosen)
    recipe = BuildSpec.of(plan)
    evaluations, images = recipe.evaluations(), 1 + recipe.proposals
    size = pair_bytes(
        config.output,
        architecture.latent_values(config.model),
        3 * prod(architecture.size(config.model)),
        prompts.table["prompt"].to_pylist(),
    )
    yield from _sizes(plan, config, evaluations, size)
    costs = gpu_hours(architecture, config.model, plan.num_candidates, evaluations, images)
    for cost in costs:
        yield f"{cost.speed.gpu}, {cost.speed.software}", _hours(cost, gpus)
    if not costs:
        height, width = architecture.size(config.model)
        yield "GPU-hours", f"no published speed of {architecture.name} at {height} × {width}"


def _sizes(plan: "Plan", config: Config, evaluations: int, pair_bytes: int) -> Lines:
    candidates = plan.num_candidates
    whole = candidates * pair_bytes * len(config.output.formats)
    yield from prompt_lines(plan.prompt_funnel)
    yield "candidates", f"{candidates}"
    yield "units", f"{plan.num_units} of {plan.unit_size} candidates"
    yield (
        "forward evaluations",
        f"{evaluations} a candidate, {candidates * evaluations:,} in all",
    )
    yield (
        "bytes",
        f"{human_bytes(pair_bytes)} a kept pair and format, at most {human_bytes(whole)} in all",
    )


def _hours(cost: "GpuHours", gpus: int) -> str:
    text = f"{cost.arithmetic()}, without judging"
    if gpus > 1:
        text += f"; {human_seconds(cost.hours * 3600 / gpus)} on {gpus}"
    return f"{text} [{cost.speed.source}]"
