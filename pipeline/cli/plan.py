"""The command ``npd plan``, which estimates the size and the cost of a build.

If the model files exist, the command measures the cost on this machine. Otherwise it uses published
figures of the model, so a build can be planned before renting a GPU or downloading weights.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import ConfigArgument
from pipeline.cli.bill import (
    BillOptions,
    GpuSpeed,
    bill_json,
    bill_lines,
    chosen_speeds,
    totals,
)
from pipeline.cli.console import batch_remark, prompt_lines, show, show_next
from pipeline.cli.json_output import JsonOption, show_json
from pipeline.cli.outputs import check_output
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.core.errors import ModelError
from pipeline.core.quantities import counted, human_bytes, human_seconds
from pipeline.storage.durable import atomic_write

if TYPE_CHECKING:
    from pipeline.config.plan import Plan
    from pipeline.costs.plan_costs import GpuHours
    from pipeline.costs.published import Architecture
    from pipeline.evaluate.estimate import BuildEstimate
    from pipeline.models.resolved_models import ResolvedModels
    from pipeline.prompts.choosing import ChosenPrompts

Lines = Iterator[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class _Figures:
    """Estimate of a build, measured with the models or from published speeds."""

    plan: "Plan"
    evaluations: float
    """Mean forward evaluations per candidate."""
    pair_bytes: int
    measured: "BuildEstimate | None" = None
    """Measurement on this machine; None if models are missing."""
    missing: list[ModelError] = field(default_factory=list)
    """An error for each missing model. Without all models, the plan has no id."""
    architecture: "Architecture | None" = None
    """Architecture whose published speeds are used; None if the speed was measured."""
    costs: list["GpuHours"] = field(default_factory=list)

    @property
    def seconds_per_candidate(self) -> float | None:
        """Seconds of a candidate, measured on this machine; None if models are missing."""
        return None if self.measured is None else self.measured.seconds_per_candidate


def plan(
    config: ConfigArgument,
    gpus: Annotated[
        int | None, typer.Option(min=1, help="Number of GPUs. Default: the configured workers.")
    ] = None,
    dropped: Annotated[
        Path | None,
        typer.Option(help="Also write the dropped prompts and their reasons to this Parquet file."),
    ] = None,
    gpu: Annotated[
        str | None, typer.Option(help="Only this kind of GPU, by its published speeds.")
    ] = None,
    price: Annotated[
        float | None,
        typer.Option(min=0, help="Price of a GPU-hour. Default: [cluster] price_per_gpu_hour."),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(min=0, help="Say how many pairs this amount of money buys.")
    ] = None,
    kept_share: Annotated[
        float, typer.Option(min=0, max=1, help="Expected kept share of judged candidates.")
    ] = 0.6,
    as_json: JsonOption = False,
) -> None:
    """Estimate what a build will compute and cost, without building anything."""
    from pipeline.models.resolved_models import ResolvedModels
    from pipeline.workflows.plan import prompts_of

    settings = load_config(config)
    if dropped is not None:
        check_output(dropped)
    models = ResolvedModels(settings)
    chosen = prompts_of(settings, models)
    if dropped is not None:
        atomic_write(dropped, [chosen.dropped])
    workers = gpus or settings.cluster.workers
    found = _figures(settings, models, chosen)
    options = BillOptions(
        gpu=gpu,
        price=settings.cluster.price_per_gpu_hour if price is None else price,
        budget=budget,
        kept_share=kept_share,
    )
    bill = totals(found.plan, chosen_speeds(_speeds(settings, found), gpu), options)
    if as_json:
        bill_part = bill_json(found.plan, found.pair_bytes, bill, options)
        show_json({**_json(settings, found, workers), **bill_part})
        return
    for name, value in _describe(settings, found, workers):
        show(f"{name:20} {value}")
    for line in bill_lines(found.plan, found.pair_bytes, bill, options):
        show(line)
    if not found.missing:
        show_next("npd", "build", config, "--out", "URL")


def _figures(config: Config, models: "ResolvedModels", chosen: "ChosenPrompts") -> _Figures:
    from pipeline.costs.plan_costs import missing_models
    from pipeline.costs.published import architecture_of

    missing = missing_models(config)
    if not missing:
        return _measured(config, models, chosen)
    architecture = architecture_of(config.model)
    if architecture is None:
        raise ModelError("\n".join(map(str, missing)))
    return _published(config, chosen, architecture, missing)


def _measured(config: Config, models: "ResolvedModels", chosen: "ChosenPrompts") -> _Figures:
    """Return the estimate measured with the models on this machine."""
    from pipeline.evaluate.estimate import estimate
    from pipeline.workflows.plan import plan_of

    plan, prompts = plan_of(config, models, chosen)
    cost = estimate(plan, prompts, config, models)
    return _Figures(
        plan=plan,
        evaluations=cost.evaluations_per_candidate,
        pair_bytes=cost.bytes_per_pair,
        measured=cost,
    )


def _published(
    config: Config,
    chosen: "ChosenPrompts",
    architecture: "Architecture",
    missing: list[ModelError],
) -> _Figures:
    """Return the estimate from published figures of the model."""
    from pipeline.costs.plan_costs import gpu_hours, pair_bytes
    from pipeline.stages.build_spec import BuildSpec
    from pipeline.workflows.plan import draft_plan

    plan, prompts = draft_plan(config, chosen)
    spec = BuildSpec.of(plan)
    # Each judged candidate samples its source image once, and one image per golden noise.
    evaluations, images = spec.mean_evaluations(), spec.mean_images()
    size = pair_bytes(
        config.output,
        architecture.latent_values(config.model),
        3 * prod(architecture.size(config.model)),
        prompts.prompts,
    )
    return _Figures(
        plan=plan,
        evaluations=evaluations,
        pair_bytes=size,
        missing=missing,
        architecture=architecture,
        costs=gpu_hours(architecture, config.model, plan.num_candidates, evaluations, images),
    )


def _speeds(config: Config, found: _Figures) -> list[GpuSpeed]:
    """Return the speed of this machine, if it was measured, and all published ones."""
    from pipeline.costs.plan_costs import published_speeds
    from pipeline.costs.published import architecture_of

    measured = found.measured
    here = (
        []
        if measured is None
        else [
            GpuSpeed(
                name="this machine",
                evaluation_seconds=measured.evaluation_seconds,
                image_seconds=measured.image_seconds,
            )
        ]
    )
    architecture = architecture_of(config.model)
    published = [] if architecture is None else published_speeds(architecture, config.model)
    return here + [
        GpuSpeed(
            name=f"{speed.gpu}, {speed.software}",
            evaluation_seconds=speed.evaluation_seconds,
            image_seconds=speed.decode_seconds,
        )
        for speed in published
    ]


def _describe(config: Config, found: _Figures, workers: int) -> Lines:
    plan = found.plan
    yield "plan", plan.plan_id or "no id until all models are present"
    for error in found.missing:
        yield "missing", str(error)
    yield from _sizes(plan, config, found.evaluations, found.pair_bytes)
    if found.seconds_per_candidate is not None:
        seconds = plan.largest_share(workers) * found.seconds_per_candidate
        yield (
            "time",
            f"about {human_seconds(seconds)} on {_used(plan, workers)} as fast as this machine "
            f"({found.seconds_per_candidate:.3f} s per candidate)",
        )
    for cost in found.costs:
        yield f"{cost.speed.gpu}, {cost.speed.software}", _hours(cost, plan, workers)
    if found.architecture is not None and not found.costs:
        height, width = found.architecture.size(config.model)
        yield "GPU-hours", f"no published speed of {found.architecture.name} at {height} × {width}"


def _json(config: Config, found: _Figures, workers: int) -> dict[str, Any]:
    plan, each = found.plan, found.seconds_per_candidate
    return {
        "plan_id": plan.plan_id or None,
        "missing": list(map(str, found.missing)),
        "prompts": plan.num_prompts,
        "rows": plan.prompt_funnel.rows,
        "dropped": plan.prompt_funnel.dropped,
        "candidates": plan.num_candidates,
        "units": plan.num_units,
        "unit_size": plan.unit_size,
        "evaluations_per_candidate": found.evaluations,
        "bytes_per_pair": found.pair_bytes,
        "bytes_at_most": plan.num_candidates * found.pair_bytes * len(config.output.formats),
        "workers": min(workers, plan.num_units),
        "seconds_per_candidate": each,
        "seconds": None if each is None else plan.largest_share(workers) * each,
        "published": [
            {
                "gpu": cost.speed.gpu,
                "software": cost.speed.software,
                "source": cost.speed.source,
                "gpu_seconds": cost.hours * 3600,
                "seconds": cost.seconds_per_candidate * plan.largest_share(workers),
            }
            for cost in found.costs
        ],
    }


def _sizes(plan: "Plan", config: Config, evaluations: float, pair_bytes: int) -> Lines:
    candidates = plan.num_candidates
    # An upper bound: it assumes that every candidate is kept.
    total = candidates * pair_bytes * len(config.output.formats)
    yield from prompt_lines(plan.prompt_funnel)
    yield "candidates", f"{candidates:,}"
    yield "units", f"{plan.num_units:,} of {counted(plan.unit_size, 'candidate')}"
    if remark := batch_remark(config.units):
        yield "batches", remark
    yield (
        "forward evaluations",
        f"{evaluations:g} per candidate, {round(candidates * evaluations):,} in total",
    )
    yield (
        "bytes",
        f"{human_bytes(pair_bytes)} per kept pair and format, "
        f"at most {human_bytes(total)} in total",
    )


def _hours(cost: "GpuHours", plan: "Plan", gpus: int) -> str:
    text = f"{cost.arithmetic()}, without rewards"
    if gpus > 1:
        seconds = cost.seconds_per_candidate * plan.largest_share(gpus)
        text += f"; {human_seconds(seconds)} on {_used(plan, gpus)}"
    return f"{text} [{cost.speed.source}]"


def _used(plan: "Plan", workers: int) -> str:
    """Return the number of workers that have work. One worker computes a unit."""
    if plan.num_units >= workers:
        return counted(workers, "worker")
    units = counted(plan.num_units, "unit")
    return f"{plan.num_units} of {workers} workers, because there is work for {units} only"
