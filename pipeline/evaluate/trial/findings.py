"""Findings of a trial: all reported numbers in one record."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.core.records import Record
from pipeline.evaluate.compare import (
    Estimate,
    Gain,
    Mask,
    compare,
    gain_ratio,
    ratio,
    sign_test,
    sums_by_group,
)
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD, ArmSpec
from pipeline.evaluate.trial.results import Results


class Comparison(Record):
    """Paired comparison of two arms under one reward."""

    arm: str
    against: str
    reward: str
    num_prompts: int
    gain: Gain
    sign_test: float
    """Two-sided p-value over prompts that the mean gain is as often positive as negative."""
    gap_closed: Estimate | None = None
    """Gain as a share of golden noise's gain over standard noise. None if golden noise's gain is
    indistinguishable from 0, or if the arm is not compared with standard noise."""

    @property
    def excludes_zero(self) -> bool:
        """True if the interval of the gain excludes zero."""
        return self.gain.gain.excludes_zero


class CategoryGain(Record):
    """Comparison on the prompts of one category."""

    category: str
    comparison: Comparison


class Diversity(Record):
    """Difference between the images that one arm makes from the seeds of a prompt."""

    arm: str
    distance: float
    """Mean RMS difference of two images, as a fraction of the full pixel range."""
    ratio: Estimate | None
    """Ratio to the distance of standard noise. A value far below 1 indicates a collapse."""


class ArmCost(Record):
    """Cost of one image of an arm."""

    arm: str
    about: str
    forward_evaluations: float
    seconds: float
    """Median over the chunks."""
    seconds_low: float | None = None
    """Lower quartile over the chunks. None in trials before it was recorded."""
    seconds_high: float | None = None
    """Upper quartile over the chunks."""
    num_samples: int

    @property
    def spread(self) -> float | None:
        """Distance of the quartiles of the seconds, as a share of their median."""
        if self.seconds_low is None or self.seconds_high is None or not self.seconds:
            return None
        return (self.seconds_high - self.seconds_low) / self.seconds


class Trial(Record):
    """All findings of a trial."""

    num_prompts: int
    num_samples: int
    subject: str
    """Name of the main arm: the first network, or golden noise if there is no network."""
    judging: str
    """Name of the reward that decides the main result."""
    selecting: str
    """Name of the reward that chooses the best of several seeds."""
    costs: list[ArmCost]
    comparisons: list[Comparison]
    """Comparison of each arm with its baseline."""
    controls: list[str]
    """Names of the arms that explain a gain."""
    duels: list[Comparison]
    """Comparison of each network with every alternative to it."""
    categories: list[CategoryGain]
    diversity: list[Diversity]
    num_chunks: int | None = None
    """Number of chunks whose seconds were measured."""
    load: float | None = None
    """Processes that wanted to run per CPU core during the trial, or None if unknown."""

    @property
    def independent(self) -> bool:
        """True if the judging reward did not select pairs."""
        return self.judging != self.selecting

    def comparison(self, arm: str, reward: str) -> Comparison | None:
        """Return an arm's comparison with its baseline under a reward, or None if it has none."""
        found = (c for c in self.comparisons if (c.arm, c.reward) == (arm, reward))
        return next(found, None)

    def cost(self, arm: str) -> ArmCost:
        """Return the cost of an arm."""
        return next(cost for cost in self.costs if cost.arm == arm)

    def methods(self) -> list[Comparison]:
        """Return the gain of each method over standard noise, the cheapest method first.

        The gains are those under the judging reward. Controls are left out.
        """
        found = [
            comparison
            for comparison in self.comparisons
            if (comparison.against, comparison.reward) == (STANDARD, self.judging)
            and comparison.arm not in self.controls
        ]
        return sorted(found, key=lambda comparison: self.cost(comparison.arm).forward_evaluations)

    def controlled(self) -> list[Comparison]:
        """Return the comparisons of the controls under the judging reward."""
        return [
            comparison
            for comparison in self.comparisons
            if comparison.arm in self.controls and comparison.reward == self.judging
        ]

    def alternatives(self, network: str) -> list[Comparison]:
        """Return a network's gain over each alternative, the cheapest alternative first.

        The gains are those under the judging reward.
        """
        found = [duel for duel in self.duels if (duel.arm, duel.reward) == (network, self.judging)]
        return sorted(found, key=lambda duel: self.cost(duel.against).forward_evaluations)

    @property
    def networks(self) -> list[str]:
        """Names of the networks that were compared with alternatives."""
        return list(dict.fromkeys(duel.arm for duel in self.duels))


def find(
    results: Results, selecting: str, judging: str, categories: Mapping[str, Sequence[str]]
) -> Trial:
    """Compute all findings. ``categories`` maps prompts to their categories, if they have any."""
    networks = [spec for spec in results.specs if spec.is_network]
    subjects = [GOLDEN, *(spec.name for spec in networks)]
    everywhere = np.ones(len(results.samples), bool)
    return Trial(
        num_prompts=len({sample.prompt_id for sample in results.samples}),
        num_samples=len(results.samples),
        subject=subjects[1] if networks else GOLDEN,
        judging=judging,
        selecting=selecting,
        costs=[_cost(results, spec) for spec in results.specs],
        comparisons=[
            found
            for spec in results.specs
            if spec.against is not None
            for found in _comparisons(results, spec.name, spec.against, everywhere)
        ],
        controls=[spec.name for spec in results.specs if spec.control],
        duels=[
            found
            for network in networks
            for other in results.specs
            if other.may_replace(network)
            for found in _comparisons(results, network.name, other.name, everywhere)
        ],
        categories=[
            CategoryGain(category=category, comparison=found)
            for category, mask in _masks(results, categories)
            for arm in subjects
            for found in _comparisons(results, arm, STANDARD, mask)
        ],
        diversity=[
            found
            for spec in results.specs
            if spec.has_own_images and (found := _diversity(results, spec))
        ],
        num_chunks=len(results.files),
        load=results.load if np.isfinite(results.load) else None,
    )


def to_json(trial: Trial, results: Results, described: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings, the findings and all samples' scores as JSON.

    Scores are stored in columns. A score is null if an arm has no image of the sample, or if it
    could not be scored.
    """
    return {
        "trial": described,
        "findings": trial.model_dump(mode="json"),
        "samples": {
            "prompt": [sample.prompt for sample in results.samples],
            "wrong_prompt": [sample.wrong_prompt for sample in results.samples],
            "seed": [sample.seeds[0] for sample in results.samples],
            "scores": {
                spec.name: {
                    reward: [float(s) if np.isfinite(s) else None for s in column]
                    for reward, column in zip(results.rewards, columns, strict=True)
                }
                for spec, columns in zip(results.specs, results.scores, strict=True)
            },
        },
    }


def _comparisons(results: Results, arm: str, against: str, where: Mask) -> Iterator[Comparison]:
    """Yield a comparison under each reward; none if the arms have no sample in common."""
    mask = where & results.scored_in_both(arm, against)
    names = results.prompt_ids
    for reward in results.rewards:
        before, after = results.column(against, reward), results.column(arm, reward)
        gain = compare(before, after, names, mask)
        if gain is None:
            return
        # The sign test counts prompts, because the seeds of a prompt are not independent.
        per_prompt = sums_by_group((after - before)[mask], names[mask])
        yield Comparison(
            arm=arm,
            against=against,
            reward=reward,
            num_prompts=len(per_prompt),
            gain=gain,
            sign_test=sign_test(int((per_prompt > 0).sum()), int((per_prompt < 0).sum())),
            gap_closed=_gap_closed(results, arm, reward, mask) if against == STANDARD else None,
        )


def _gap_closed(results: Results, arm: str, reward: str, where: Mask) -> Estimate | None:
    """Return (arm - standard) / (golden - standard) over the samples that all three have."""
    # All arms have the same samples here, so that golden noise closes exactly its gap.
    mask = where & results.scored_in_both(GOLDEN, STANDARD)
    if not mask.any():
        return None
    standard = results.column(STANDARD, reward)[mask]
    gains, gap = (results.column(name, reward)[mask] - standard for name in (arm, GOLDEN))
    return gain_ratio(gains, gap, results.prompt_ids[mask])


def _masks(results: Results, categories: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Mask]]:
    """Yield each category, in alphabetical order, with the mask of its samples."""
    of_samples = [categories.get(sample.prompt, ()) for sample in results.samples]
    for category in sorted({name for names in of_samples for name in names}):
        yield category, np.array([category in names for names in of_samples])


def _diversity(results: Results, spec: ArmSpec) -> Diversity | None:
    distances, standard = results.distance(spec.name), results.distance(STANDARD)
    both = np.isfinite(distances) & np.isfinite(standard)
    if not both.any():
        return None
    return Diversity(
        arm=spec.name,
        distance=float(distances[both].mean()),
        ratio=None if spec.name == STANDARD else ratio(distances[both], standard[both]),
    )


def _cost(results: Results, spec: ArmSpec) -> ArmCost:
    cost = results.cost(spec.name)
    low, high = results.quartiles(spec.name)
    return ArmCost(
        arm=spec.name,
        about=spec.about,
        forward_evaluations=cost.evaluations,
        seconds=cost.seconds,
        seconds_low=low,
        seconds_high=high,
        num_samples=int(results.scored_in_both(spec.name, spec.name).sum()),
    )
