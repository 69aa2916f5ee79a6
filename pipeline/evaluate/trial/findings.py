"""What a trial found: every figure that a person is told, in one record."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.gains import Gain, gain_of
from pipeline.evaluate.scores import Mask
from pipeline.evaluate.statistics import Estimate
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD, ArmSpec
from pipeline.evaluate.trial.ratio import ratio, sums_by_group
from pipeline.evaluate.trial.results import Results
from pipeline.evaluate.trial.sign_test import sign_test
from pipeline.records import Record


class Comparison(Record):
    """An arm against another one, pair by pair, under one reward."""

    arm: str
    against: str
    reward: str
    num_prompts: int
    gain: Gain
    sign_test: float
    """Two-sided p-value over prompts: is the mean gain of a prompt as often up as down?"""
    gap_closed: Estimate | None = None
    """The share of golden noise's gain over standard noise; None where that is not told from 0, or
    where the arm is not compared with standard noise."""

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval of the gain does."""
        return self.gain.gain.low > 0 or self.gain.gain.high < 0


class CategoryGain(Record):
    """A comparison on the prompts of one category."""

    category: str
    comparison: Comparison


class Diversity(Record):
    """How different the images of one prompt are, over its seeds."""

    arm: str
    distance: float
    """Mean RMS difference of two images, in units of the full range of a pixel."""
    ratio: Estimate | None
    """To that of standard noise; far below 1 is a collapse."""


class ArmCost(Record):
    """What one image takes."""

    arm: str
    about: str
    forward_evaluations: float
    seconds: float
    num_samples: int


class Trial(Record):
    """All findings."""

    num_prompts: int
    num_samples: int
    subject: str
    """The arm that the trial is about: the first network, or golden noise where there is none."""
    judging: str
    """The reward that the claim is judged by."""
    selecting: str
    """The reward that chooses the best of several seeds."""
    costs: list[ArmCost]
    comparisons: list[Comparison]
    """Each arm against the one that it is to be compared with."""
    controls: list[str]
    """Arms that explain a gain."""
    duels: list[Comparison]
    """Each network against every other arm that it may be chosen in place of."""
    categories: list[CategoryGain]
    diversity: list[Diversity]

    @property
    def independent(self) -> bool:
        """Whether the judging reward selected nothing."""
        return self.judging != self.selecting

    def comparison(self, arm: str, reward: str) -> Comparison | None:
        """An arm's own comparison under a reward, if it has been drawn."""
        found = (c for c in self.comparisons if (c.arm, c.reward) == (arm, reward))
        return next(found, None)

    def cost(self, arm: str) -> ArmCost:
        """An arm's cost."""
        return next(cost for cost in self.costs if cost.arm == arm)


def find(
    results: Results, selecting: str, judging: str, categories: Mapping[str, Sequence[str]]
) -> Trial:
    """Compute every figure; ``categories`` are those of each prompt, which may have none."""
    networks = [entry for entry in results.entries if entry.is_network]
    subjects = [GOLDEN, *(entry.name for entry in networks)]
    everywhere = np.ones(len(results.samples), bool)
    return Trial(
        num_prompts=len({sample.prompt_id for sample in results.samples}),
        num_samples=len(results.samples),
        subject=subjects[1] if networks else GOLDEN,
        judging=judging,
        selecting=selecting,
        costs=[_cost(results, entry) for entry in results.entries],
        comparisons=[
            found
            for entry in results.entries
            if entry.against is not None
            for found in _comparisons(results, entry.name, entry.against, everywhere)
        ],
        controls=[entry.name for entry in results.entries if entry.control],
        duels=[
            found
            for network in networks
            for other in results.entries
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
            for entry in results.entries
            if entry.has_own_images and (found := _diversity(results, entry))
        ],
    )


def to_json(trial: Trial, results: Results, described: Mapping[str, Any]) -> dict[str, Any]:
    """Everything: what decided the trial, its findings, and the scores of all samples, in columns;
    null where an arm was not drawn, or an image could not be scored."""
    return {
        "trial": described,
        "findings": trial.model_dump(mode="json"),
        "samples": {
            "prompt": [sample.prompt for sample in results.samples],
            "wrong_prompt": [sample.wrong_prompt for sample in results.samples],
            "seed": [sample.seeds[0] for sample in results.samples],
            "scores": {
                entry.name: {
                    reward: [float(s) if np.isfinite(s) else None for s in column]
                    for reward, column in zip(results.rewards, columns, strict=True)
                }
                for entry, columns in zip(results.entries, results.scores, strict=True)
            },
        },
    }


def _comparisons(results: Results, arm: str, against: str, where: Mask) -> Iterator[Comparison]:
    """Under every reward; none where nothing was drawn in both."""
    mask = where & results.drawn_in_both(arm, against)
    if not mask.any():
        return
    names = results.prompt_ids[mask]
    for reward in results.rewards:
        before, after = results.column(against, reward), results.column(arm, reward)
        per_prompt = sums_by_group((after - before)[mask], names)
        yield Comparison(
            arm=arm,
            against=against,
            reward=reward,
            num_prompts=len(per_prompt),
            gain=gain_of(before[mask], after[mask], names),
            sign_test=sign_test(int((per_prompt > 0).sum()), int((per_prompt < 0).sum())),
            gap_closed=_gap_closed(results, arm, reward, mask) if against == STANDARD else None,
        )


def _gap_closed(results: Results, arm: str, reward: str, where: Mask) -> Estimate | None:
    """(arm - standard) / (golden - standard), over the samples that all three have."""
    mask = where & results.drawn_in_both(GOLDEN, STANDARD)
    if not mask.any():
        return None
    standard, names = results.column(STANDARD, reward)[mask], results.prompt_ids[mask]
    closed = results.column(arm, reward)[mask] - standard
    gap = results.column(GOLDEN, reward)[mask] - standard
    return ratio(sums_by_group(closed, names), sums_by_group(gap, names))


def _masks(results: Results, categories: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, Mask]]:
    """The samples of each category, the categories in alphabetical order."""
    of_samples = [categories.get(sample.prompt, ()) for sample in results.samples]
    for category in sorted({name for names in of_samples for name in names}):
        yield category, np.array([category in names for names in of_samples])


def _diversity(results: Results, entry: ArmSpec) -> Diversity | None:
    distances, standard = results.distance(entry.name), results.distance(STANDARD)
    both = np.isfinite(distances) & np.isfinite(standard)
    if not both.any():
        return None
    return Diversity(
        arm=entry.name,
        distance=float(distances[both].mean()),
        ratio=None if entry.name == STANDARD else ratio(distances[both], standard[both]),
    )


def _cost(results: Results, entry: ArmSpec) -> ArmCost:
    cost = results.cost(entry.name)
    return ArmCost(
        arm=entry.name,
        about=entry.about,
        forward_evaluations=cost.evaluations,
        seconds=cost.seconds,
        num_samples=int(results.drawn_in_both(entry.name, entry.name).sum()),
    )
