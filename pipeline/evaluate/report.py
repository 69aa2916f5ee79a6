"""Report of a sealed plan as Markdown: funnel, noise statistics, gains and controls.

Everything is computed from the ledger, without a model, except the plain-guidance control.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.config.plan import Plan
from pipeline.evaluate.compare import Estimate, Gain, Values
from pipeline.evaluate.controls import (
    best_of_seeds,
    filtered_independent_seed,
    golden_gain,
    independent_seed,
)
from pipeline.evaluate.document import ReportSection, Table, to_markdown
from pipeline.evaluate.judged_sample import about_unjudged
from pipeline.evaluate.proposals import best_proposers, describe_proposers
from pipeline.evaluate.scores import ScoreTable
from pipeline.stages.build_spec import BuildSpec
from pipeline.storage.manifest import Funnel, Manifest


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """Gains of one method under every reward, with its cost."""

    name: str
    evaluations: int
    """Number of forward evaluations for one image."""
    gains: Mapping[str, Gain | None]
    """Maps each reward's name to the gain; None if there are no pairs to compare."""


def make_report(manifest: Manifest, scores: ScoreTable, extra: Sequence[ReportRow] = ()) -> str:
    """Return the report as Markdown that is readable in a terminal.

    ``extra`` are further rows of the table of all candidates.
    """
    sections = [
        ReportSection(
            f"Plan {manifest.plan_id}, version {manifest.version}", [_models(manifest.plan)]
        ),
        _funnel(manifest.funnel),
        _noise(scores),
        _proposals(manifest.plan, scores),
    ]
    plan = manifest.plan
    if unjudged := about_unjudged(manifest.funnel, scores):
        sections.append(ReportSection("Unjudged pairs", [unjudged]))
    if scores.judged().any():
        sections.append(_all_candidates(plan, candidate_rows(plan, scores, extra)))
        kept = kept_rows(plan, scores)
        if kept:
            table = gain_table(kept, plan.reward_names)
            sections.append(ReportSection("Kept pairs", [ABOUT_KEPT, table]))
    return to_markdown([section for section in sections if section is not None])


def _models(plan: Plan) -> str:
    model, sampling = plan.settings.model, plan.settings.sampling
    return (
        f"Model: {model.name}. Images: {sampling.num_inference_steps} steps at guidance "
        f"{sampling.guidance_scale:g}. Golden noise: {describe_proposers(plan)}."
    )


def _funnel(funnel: Funnel) -> ReportSection:
    def share(count: int) -> str:
        return f"{count / funnel.candidates:.1%}" if funnel.candidates else "-"

    rows = [["candidates", str(funnel.candidates), ""]]
    if funnel.judged is not None:
        rows.append(["judged", str(funnel.judged), share(funnel.judged)])
    rows.append(["kept", str(funnel.kept), share(funnel.kept)])
    if funnel.judged is not None:
        rows.append(["not judged, stored", str(funnel.unjudged), share(funnel.unjudged)])
    rows += [[f"rejected, {why}", str(n), share(n)] for why, n in funnel.rejected.items()]
    rows += [[f"failed, {why}", str(n), share(n)] for why, n in funnel.failed.items()]
    rows.append(["prompt truncated", str(funnel.truncated), share(funnel.truncated)])
    return ReportSection("Funnel", [Table(["", "candidates", "share"], rows)])


def _noise(scores: ScoreTable) -> ReportSection | None:
    def spread(name: str, values: Values) -> list[str]:
        low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
        return [name, f"{low:.3f}", f"{middle:.3f}", f"{high:.3f}"]

    if not np.isfinite(scores.std).any():
        return None
    rows = [spread("standard deviation", scores.std), spread("excess kurtosis", scores.kurtosis)]
    return ReportSection("Golden noise", [Table(["", "5%", "median", "95%"], rows)])


def _proposals(plan: Plan, scores: ScoreTable) -> ReportSection | None:
    rows = best_proposers(plan, scores)
    if not rows or scores.evaluations is None:
        return None
    computed = scores.evaluations[scores.evaluations > 0]
    cost = (
        f" Mean cost of a candidate: {computed.mean():.4g} forward evaluations."
        if len(computed)
        else ""
    )
    text = f"The best golden noise of each candidate is used.{cost}"
    return ReportSection(
        "Proposals", [text, Table(["proposer", "best", "share", "of these kept"], rows)]
    )


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

    def row(self, name: str, evaluations: int, gain_of: Callable[[str], Gain | None]) -> ReportRow:
        """Compute the gain under each reward with ``gain_of``."""
        gains = {reward: gain_of(reward) for reward in self.rewards}
        return ReportRow(name=name, evaluations=evaluations, gains=gains)


def candidate_rows(
    plan: Plan, scores: ScoreTable, extra: Sequence[ReportRow] = ()
) -> list[ReportRow]:
    """Return golden noise and its controls over all judged candidates.

    ``extra`` are further rows, such as controls that were measured with the models.
    """
    terms, judged = _Terms.of(plan), scores.judged()
    seeds, selecting = terms.seeds, terms.selecting
    return [
        terms.row(
            "golden noise",
            terms.golden_image,
            lambda reward: golden_gain(scores, reward, judged),
        ),
        terms.row(
            "control: independent seed",
            terms.image,
            lambda reward: independent_seed(scores, reward, seeds),
        ),
        terms.row(
            f"control: best of {seeds} seeds by {selecting}",
            seeds * terms.image,
            lambda reward: best_of_seeds(scores, reward, selecting, seeds),
        ),
        *extra,
    ]


def kept_rows(plan: Plan, scores: ScoreTable) -> list[ReportRow]:
    """Return golden noise and its control over the kept pairs; empty if none was kept."""
    terms = _Terms.of(plan)
    kept = scores.kept & scores.judged()
    if not kept.any():
        return []
    return [
        terms.row(
            "golden noise, kept",
            terms.golden_image,
            lambda reward: golden_gain(scores, reward, kept),
        ),
        terms.row(
            "control: independent seed, same filter",
            terms.image,
            lambda reward: filtered_independent_seed(scores, reward, terms.selecting, terms.seeds),
        ),
    ]


def _all_candidates(plan: Plan, rows: Sequence[ReportRow]) -> ReportSection:
    return ReportSection(
        "All candidates, without selection",
        [about_candidates(plan), gain_table(rows, plan.reward_names)],
    )


def about_candidates(plan: Plan) -> str:
    """Return a paragraph that explains the rows of ``candidate_rows``."""
    return (
        "Each row is compared with the standard image of the same prompt and seed, which takes "
        f"{BuildSpec.of(plan).image_evaluations()} forward evaluations. Compare gains together "
        "with their cost: the evaluations of one image. Intervals are 95%."
    )


ABOUT_KEPT = (
    "The filter keeps winners, so kept pairs always show a gain. The control applies the same "
    "filter to independent seeds."
)
"""Explanation of the rows of ``kept_rows``."""


def gain_table(rows: Sequence[ReportRow], names: Sequence[str]) -> Table:
    """Return a table of the gains under each reward, with their costs."""
    cells = [
        [
            row.name,
            name,
            str(row.evaluations),
            str(gain.num_pairs),
            f"{gain.standard:.3f}",
            f"{gain.other:.3f}",
            _signed(gain.gain),
            _percent(gain.wins),
        ]
        for name in names
        for row in rows
        if (gain := row.gains[name]) is not None
    ]
    header = ["image", "reward", "evaluations", "pairs", "standard", "this", "gain", "wins %"]
    return Table(header, cells)


def _signed(estimate: Estimate) -> str:
    return f"{estimate.value:+.3f} [{estimate.low:+.3f}, {estimate.high:+.3f}]"


def _percent(estimate: Estimate) -> str:
    return f"{estimate.value:.1%} [{estimate.low:.1%}, {estimate.high:.1%}]".replace("%", "")
