"""Report of a trial as one self-contained HTML page."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import numpy as np

from pipeline.evaluate.compare import Values
from pipeline.evaluate.document import Table, p_value, percent, signed
from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.findings import Comparison, Trial
from pipeline.evaluate.trial.gallery import Examples, gallery, perturbation, radial_power
from pipeline.evaluate.trial.html import Html, page, table_element, tag
from pipeline.evaluate.trial.plots import forest, histogram, lines
from pipeline.evaluate.trial.results import Results

_PERTURBATIONS = 2
"""Number of samples of each kind: largest gains, largest losses and random."""


def trial_page(trial: Trial, results: Results, examples: Examples, summary: Sequence[str]) -> str:
    """Return the page: the ``summary`` sentences, then all findings with plots and images."""
    return page(
        "Trial of noises",
        [
            tag("h1", f"{trial.subject} against {STANDARD}"),
            *(tag("p", sentence, class_="lead") for sentence in summary[:1]),
            *(tag("p", sentence) for sentence in summary[1:]),
            _headline(trial),
            *_gains(trial, results),
            *_duels(trial),
            *_categories(trial),
            *_differences(trial, results),
            *_diversity(trial),
            *_costs(trial),
            *_pictures(trial, results, examples),
            *_perturbations(trial, results, examples),
        ],
    )


def _headline(trial: Trial) -> Html:
    boxes = []
    found = trial.comparison(trial.subject, trial.judging)
    if found is not None:
        gain = found.gain
        kind = ("good" if gain.gain.value > 0 else "bad") if found.excludes_zero else ""
        boxes = [
            _box(signed(gain.gain), f"mean gain, {trial.judging}", kind),
            _box(percent(gain.wins), "of pairs won, ties half"),
        ]
        if found.gap_closed is not None:
            boxes.append(_box(percent(found.gap_closed), "of golden noise's gain"))
    cost = trial.cost(trial.subject)
    evaluations = f"{cost.forward_evaluations:.4g}"
    standard = f"{trial.cost(STANDARD).forward_evaluations:.4g}"
    boxes.append(_box(evaluations, f"evaluations an image; {STANDARD} {standard}"))
    return tag("div", *boxes, class_="figures")


def _box(figure: str, what: str, kind: str = "") -> Html:
    """Return a box with a number, its interval if it has one, and a label."""
    value, bracket, interval = figure.partition(" [")
    return tag(
        "div",
        tag("b", value),
        tag("span", bracket.strip() + interval),
        tag("span", what),
        class_=f"figure {kind}".strip(),
    )


def _gains(trial: Trial, results: Results) -> Iterator[Html]:
    yield tag("h2", "Gains")
    yield tag(
        "p",
        "Each arm against standard noise of the same prompt and seed; the last ones against the "
        "guided image that they name, and what is judged by the wrong prompt against standard "
        "noise that is judged so too. Intervals are 95%, by bootstrap over prompts; green and red "
        "exclude zero. The sign test counts prompts.",
        class_="note",
    )
    for reward in _judging_first(trial, results.rewards):
        found = [comparison for comparison in trial.comparisons if comparison.reward == reward]
        yield tag("h3", _about_reward(trial, reward))
        yield forest([(comparison.arm, comparison.gain.gain) for comparison in found])
        yield _table(found)


def _judging_first(trial: Trial, rewards: Sequence[str]) -> list[str]:
    return [trial.judging, *(reward for reward in rewards if reward != trial.judging)]


def _about_reward(trial: Trial, reward: str) -> str:
    if reward == trial.judging and trial.independent:
        return f"{reward}: it selected nothing, and judges"
    return f"{reward}: it selected pairs" if reward == trial.selecting else reward


def _table(found: Sequence[Comparison]) -> Html:
    header = ["", "pairs", "before", "after", "gain", "wins", "sign test p", "gap closed"]
    rows = [
        [
            comparison.arm,
            f"{comparison.gain.num_pairs:,}",
            f"{comparison.gain.standard:.3f}",
            f"{comparison.gain.other:.3f}",
            signed(comparison.gain.gain),
            percent(comparison.gain.wins),
            p_value(comparison.sign_test),
            "" if comparison.gap_closed is None else percent(comparison.gap_closed),
        ]
        for comparison in found
    ]
    return tag("div", table_element(Table(header, rows)), class_="scroll")


def _duels(trial: Trial) -> Iterator[Html]:
    judged = [duel for duel in trial.duels if duel.reward == trial.judging]
    for arm, found in groupby(judged, lambda duel: duel.arm):
        duels = list(found)
        yield tag("h2", f"{arm} against every other way")
        yield tag(
            "p",
            f"The same samples, pair by pair, under {trial.judging}: right of the line {arm} is "
            "better. In brackets the forward evaluations of one image.",
            class_="note",
        )
        costs = {duel.against: trial.cost(duel.against).forward_evaluations for duel in duels}
        yield forest([(f"{d.against} ({costs[d.against]:.4g})", d.gain.gain) for d in duels])


def _categories(trial: Trial) -> Iterator[Html]:
    judged = [
        found
        for found in trial.categories
        if (found.comparison.arm, found.comparison.reward) == (trial.subject, trial.judging)
    ]
    if not judged:
        return
    yield tag("h2", "By category of prompt")
    yield tag("p", f"{trial.subject} against {STANDARD}, {trial.judging}.", class_="note")
    yield forest(
        [
            (
                f"{found.category} ({found.comparison.num_prompts} prompts)",
                found.comparison.gain.gain,
            )
            for found in judged
        ]
    )


def _differences(trial: Trial, results: Results) -> Iterator[Html]:
    mask = results.drawn_in_both(trial.subject, STANDARD)
    if not mask.any():
        return
    yield tag("h2", "Paired differences")
    for reward in _judging_first(trial, results.rewards):
        both = (results.column(arm, reward)[mask] for arm in (trial.subject, STANDARD))
        after, before = both
        yield histogram(after - before, f"{reward}: {trial.subject} − {STANDARD}")


def _diversity(trial: Trial) -> Iterator[Html]:
    if not trial.diversity:
        return
    yield tag("h2", "Diversity across seeds")
    yield tag(
        "p",
        "Mean RMS difference in pixels between the images of one prompt, and its ratio to that of "
        "standard noise. A way that makes the same image of every seed has collapsed.",
        class_="note",
    )
    rows = [
        [found.arm, f"{found.distance:.3f}", "" if found.ratio is None else percent(found.ratio)]
        for found in trial.diversity
    ]
    yield table_element(Table(["", "distance", "of standard noise's"], rows))


def _costs(trial: Trial) -> Iterator[Html]:
    yield tag("h2", "What an image costs")
    yield tag(
        "p",
        "Forward evaluations of the denoiser, a network's pass counted as one, and seconds as "
        "measured here, in one process. Nothing is free because another arm has done it.",
        class_="note",
    )
    rows = [
        [
            cost.arm,
            f"{cost.forward_evaluations:.4g}",
            f"{cost.seconds:.3f}",
            f"{cost.num_samples:,}",
            cost.about,
        ]
        for cost in trial.costs
    ]
    header = ["", "evaluations", "seconds", "samples", ""]
    yield tag("div", table_element(Table(header, rows)), class_="explained")


def _pictures(trial: Trial, results: Results, examples: Examples) -> Iterator[Html]:
    yield tag("h2", "Pictures")
    for title, samples in (
        (f"Largest gains of {trial.subject}, by {trial.judging}", examples.gains),
        (f"Largest losses of {trial.subject}, by {trial.judging}", examples.losses),
        ("Random samples", examples.random),
    ):
        yield tag("h3", title)
        yield gallery(results, samples) if samples else tag("p", "None.", class_="note")


def _perturbations(trial: Trial, results: Results, examples: Examples) -> Iterator[Html]:
    yield tag("h2", "What is done to the noise")
    yield tag(
        "p",
        "The perturbation x'_T − x_T. Above: its mean power at each spatial frequency, over all "
        "samples; white noise of variance 1 has power 1 throughout. Below, for single samples: its "
        "map in each channel (red above zero, blue below, all channels on one scale) and its "
        "spectrum, beside both images and the difference between them.",
        class_="note",
    )
    yield lines(_mean_spectra(results), "radial frequency", width=560)
    # A sample can be in several lists, so duplicates are removed below.
    chosen = [
        *examples.gains[:_PERTURBATIONS],
        *examples.losses[:_PERTURBATIONS],
        *examples.random[:_PERTURBATIONS],
    ]
    yield from (perturbation(results, sample, trial.subject) for sample in dict.fromkeys(chosen))


def _mean_spectra(results: Results) -> list[tuple[str, Values]]:
    """Return the mean radial power of the perturbation for each arm that keeps its noises."""
    powers: dict[str, list[Values]] = {}
    for chunk in range(len(results.files)):
        noises = results.noises(chunk)
        standard = noises[STANDARD].astype(np.float32)
        for name, noise in noises.items():
            if name != STANDARD:
                change = (noise - standard).reshape(len(noise), -1, *noise.shape[-2:])
                powers.setdefault(name, []).extend(map(radial_power, change))
    return [(name, np.mean(rows, axis=0)) for name, rows in powers.items()]
