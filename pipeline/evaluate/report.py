"""Report of a sealed plan as Markdown: funnel, noise statistics, gains and controls.

Everything is computed from the ledger, without a model, except the plain-guidance control.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.gains import (
    Gain,
    best_of_seeds,
    filtered_independent_seed,
    golden_gain,
    independent_seed,
)
from pipeline.evaluate.proposals import best_proposers, describe_proposers
from pipeline.evaluate.scores import Mask, Scores
from pipeline.evaluate.statistics import Estimate
from pipeline.plan import Plan
from pipeline.stages.build_spec import BuildSpec
from pipeline.storage.manifest import Funnel, Manifest


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Gains of one method under every reward, with its cost."""

    name: str
    evaluations: int
    """Number of forward evaluations for one image."""
    gains: Mapping[str, Gain | None]
    """Maps each reward's name to the gain; None if there are no pairs to compare."""


def make_report(manifest: Manifest, scores: Scores, extra: Sequence[Comparison] = ()) -> str:
    """Return the report as Markdown that is readable in a terminal.

    ``extra`` are further rows of the table of all candidates.
    """
    parts = [
        f"# Plan {manifest.plan_id}, version {manifest.version}",
        _models(manifest),
        _funnel(manifest.funnel),
        _noise(scores),
        _proposals(manifest.plan, scores),
    ]
    judged = scores.judged()
    if judged.any():
        terms = _Terms.of(manifest.plan)
        parts.append(_all_candidates(terms, scores, judged, extra))
        parts.append(_kept_pairs(terms, scores, judged))
    return "\n\n".join(part for part in parts if part) + "\n"


def _models(manifest: Manifest) -> str:
    settings = manifest.plan.settings
    sampling = settings["sampling"]
    proposers = describe_proposers(manifest.plan)
    return (
        f"Model: {settings['model']['name']}. Images: {sampling['num_inference_steps']} steps at "
        f"guidance {sampling['guidance_scale']:g}. Golden noise: {proposers}."
    )


def _funnel(funnel: Funnel) -> str:
    def share(count: int) -> str:
        return f"{count / funnel.candidates:.1%}" if funnel.candidates else "-"

    rows = [["candidates", str(funnel.candidates), ""]]
    rows.append(["kept", str(funnel.kept), share(funnel.kept)])
    rows += [[f"rejected, {why}", str(n), share(n)] for why, n in funnel.rejected.items()]
    rows += [[f"failed, {why}", str(n), share(n)] for why, n in funnel.failed.items()]
    rows.append(["prompt truncated", str(funnel.truncated), share(funnel.truncated)])
    return "## Funnel\n\n" + table(["", "candidates", "share"], rows)


def _noise(scores: Scores) -> str:
    def spread(name: str, values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> list[str]:
        low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
        return [name, f"{low:.3f}", f"{middle:.3f}", f"{high:.3f}"]

    if not np.isfinite(scores.std).any():
        return ""
    rows = [spread("standard deviation", scores.std), spread("excess kurtosis", scores.kurtosis)]
    return "## Golden noise\n\n" + table(["", "5%", "median", "95%"], rows)


def _proposals(plan: Plan, scores: Scores) -> str:
    rows = best_proposers(plan, scores)
    if not rows or scores.evaluations is None:
        return ""
    computed = scores.evaluations[scores.evaluations > 0]
    cost = (
        f" Mean cost of a candidate: {computed.mean():.4g} forward evaluations."
        if len(computed)
        else ""
    )
    text = f"## Proposals\n\nThe best golden noise of each candidate is used.{cost}\n\n"
    return text + table(["proposer", "best", "share", "of these kept"], rows)


@dataclass(frozen=True, kw_only=True)
class _Terms:
    """Settings that all comparisons of one plan share."""

    rewards: Sequence[str]
    selecting: str
    """Name of the reward that chooses the best seed and filters the independent seeds."""
    seeds: int
    """Number of seeds per prompt."""
    image: int
    """Number of forward evaluations to sample one image from given noise."""
    golden_image: int
    """Number of forward evaluations for one golden image, all its proposals included."""

    @classmethod
    def of(cls, plan: Plan) -> "_Terms":
        recipe = BuildSpec.of(plan)
        image = recipe.image_evaluations()
        return cls(
            rewards=plan.reward_names,
            selecting=next(iter(recipe.rule.margins)),
            seeds=plan.seeds_per_prompt,
            image=image,
            golden_image=recipe.golden_evaluations(),
        )

    def compare(
        self, name: str, evaluations: int, gain_of: Callable[[str], Gain | None]
    ) -> Comparison:
        """Compute the gain under each reward with ``gain_of``."""
        gains = {reward: gain_of(reward) for reward in self.rewards}
        return Comparison(name=name, evaluations=evaluations, gains=gains)


def _all_candidates(
    terms: _Terms, scores: Scores, judged: Mask, extra: Sequence[Comparison]
) -> str:
    seeds, selecting = terms.seeds, terms.selecting
    comparisons = [
        terms.compare(
            "golden noise",
            terms.golden_image,
            lambda reward: golden_gain(scores, reward, judged),
        ),
        terms.compare(
            "control: independent seed",
            terms.image,
            lambda reward: independent_seed(scores, reward, seeds),
        ),
        terms.compare(
            f"control: best of {seeds} seeds by {selecting}",
            seeds * terms.image,
            lambda reward: best_of_seeds(scores, reward, selecting, seeds),
        ),
        *extra,
    ]
    text = (
        "## All candidates, without selection\n\nEach row is compared with the standard image of "
        f"the same prompt and seed, which takes {terms.image} forward evaluations. Compare gains "
        "together with their cost: the evaluations of one image. Intervals are 95%.\n\n"
    )
    return text + _gain_table(comparisons, terms.rewards)


def _kept_pairs(terms: _Terms, scores: Scores, judged: Mask) -> str:
    kept = scores.kept & judged
    if not kept.any():
        return ""
    comparisons = [
        terms.compare(
            "golden noise, kept",
            terms.golden_image,
            lambda reward: golden_gain(scores, reward, kept),
        ),
        terms.compare(
            "control: independent seed, same filter",
            terms.image,
            lambda reward: filtered_independent_seed(scores, reward, terms.selecting, terms.seeds),
        ),
    ]
    text = (
        "## Kept pairs\n\nThe filter keeps winners, so kept pairs always show a gain. The control "
        "applies the same filter to independent seeds.\n\n"
    )
    return text + _gain_table(comparisons, terms.rewards)


def _gain_table(comparisons: Sequence[Comparison], names: Sequence[str]) -> str:
    rows = [
        [
            comparison.name,
            name,
            str(comparison.evaluations),
            str(gain.num_pairs),
            f"{gain.standard:.3f}",
            f"{gain.other:.3f}",
            _signed(gain.gain),
            _percent(gain.wins),
        ]
        for name in names
        for comparison in comparisons
        if (gain := comparison.gains[name]) is not None
    ]
    header = ["image", "reward", "evaluations", "pairs", "standard", "this", "gain", "wins %"]
    return table(header, rows)


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]".replace("%", "")


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns: the first to the left, others to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first, *rest = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        aligned = [cell.strip().rjust(len(cell)) for cell in rest]
        return f"| {' | '.join([first, *aligned])} |"

    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    return "\n".join([line(header), f"| {' | '.join(rule)} |", *map(line, rows)])
