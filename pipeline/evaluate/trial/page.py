"""Pages of a trial: the report with plots and images, and the summary.

A page is one self-contained HTML file. The texts and the markup are in the templates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.evaluate.document import ReportSection, Table, p_value, percent, signed
from pipeline.evaluate.pages.charts import Chart, histogram, line_plot
from pipeline.evaluate.pages.figures import HeadlineNumber
from pipeline.evaluate.pages.forest import ForestPlot, forest_plot
from pipeline.evaluate.pages.render import render
from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.costs import (
    ASSUMPTIONS,
    break_even,
    costs_table,
    invested,
    unsteady,
)
from pipeline.evaluate.trial.findings import Comparison, Trial
from pipeline.evaluate.trial.gallery import (
    FREQUENCY,
    Examples,
    gallery,
    mean_spectra,
    perturbation,
)
from pipeline.evaluate.trial.results import Results
from pipeline.evaluate.trial.samples import DataSet
from pipeline.evaluate.trial.summary import (
    alternatives_table,
    control_sentences,
    lead,
    methods_table,
)
from pipeline.training.record import TrainingTime

_PERTURBATIONS = 2
"""Number of samples of each kind: largest gains, largest losses and random."""


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Comparisons under one heading, as a plot and a table."""

    heading: str
    plot: ForestPlot
    table: Table


def trial_page(
    trial: Trial,
    results: Results,
    examples: Examples,
    data: DataSet | None,
    training: TrainingTime | None,
) -> str:
    """Return the report of a trial as HTML.

    ``data`` is the data set of the networks and ``training`` the training of the first one, if they
    are known.
    """
    rewards = [trial.judging, *(name for name in results.rewards if name != trial.judging)]
    # A sample can be in several lists of examples, so duplicates are removed.
    perturbed = dict.fromkeys(
        sample
        for samples in (examples.gains, examples.losses, examples.random)
        for sample in samples[:_PERTURBATIONS]
    )
    return render(
        "trial.html.j2",
        trial=trial,
        standard=STANDARD,
        lead=lead(trial, data),
        figures=list(_figures(trial)),
        methods=_methods(trial),
        alternatives=list(_alternatives(trial)),
        controls=_forest(trial.controlled()),
        control_sentences=list(control_sentences(trial)),
        rewards=[each for reward in rewards if (each := _under_reward(trial, reward))],
        categories=_categories(trial),
        differences=list(_differences(trial, results, rewards)),
        diversity=_diversity(trial),
        costs=costs_table(trial),
        unsteady=unsteady(trial),
        invested=[*invested(trial, data, training)],
        break_even=break_even(trial, data, training),
        assumptions=ASSUMPTIONS,
        galleries={
            f"Largest gains of {trial.subject}, by {trial.judging}": [
                *gallery(results, examples.gains)
            ],
            f"Largest losses of {trial.subject}, by {trial.judging}": [
                *gallery(results, examples.losses)
            ],
            "Random samples": [*gallery(results, examples.random)],
        },
        spectra=line_plot(mean_spectra(results), FREQUENCY, "mean power"),
        perturbations=[perturbation(results, sample, trial.subject) for sample in perturbed],
    )


def summary_page(sections: Sequence[ReportSection]) -> str:
    """Return a summary as HTML. The heading of its first section is the title."""
    return render("summary.html.j2", sections=sections)


def _figures(trial: Trial) -> Iterator[HeadlineNumber]:
    found = trial.comparison(trial.subject, trial.judging)
    if found is not None:
        sign = ("good" if found.gain.gain.value > 0 else "bad") if found.excludes_zero else ""
        yield HeadlineNumber(
            value=signed(found.gain.gain), about=f"mean gain, {trial.judging}", sign=sign
        )
        yield HeadlineNumber(value=percent(found.gain.wins), about="of pairs won, ties count half")
        if found.gap_closed is not None:
            yield HeadlineNumber(value=percent(found.gap_closed), about="of golden noise's gain")
    cost = trial.cost(trial.subject).forward_evaluations
    standard = trial.cost(STANDARD).forward_evaluations
    yield HeadlineNumber(
        value=f"{cost:.4g}", about=f"evaluations per image; {STANDARD} takes {standard:.4g}"
    )


def _forest(found: Sequence[Comparison]) -> ForestPlot | None:
    if not found:
        return None
    return forest_plot(
        [(each.arm, each.gain.gain) for each in found], f"gain under {found[0].reward}"
    )


def _with_cost(trial: Trial, arm: str) -> str:
    return f"{arm} ({trial.cost(arm).forward_evaluations:.4g})"


def _methods(trial: Trial) -> Comparisons | None:
    found = trial.methods()
    if not found:
        return None
    return Comparisons(
        heading="",
        plot=forest_plot(
            [(_with_cost(trial, each.arm), each.gain.gain) for each in found],
            f"gain over {STANDARD} under {trial.judging}",
        ),
        table=methods_table(trial),
    )


def _alternatives(trial: Trial) -> Iterator[Comparisons]:
    """Yield the comparisons of each network with its alternatives, the subject's first."""
    for network in sorted(trial.networks, key=lambda name: name != trial.subject):
        duels = trial.alternatives(network)
        yield Comparisons(
            heading=f"{network} against each alternative",
            plot=forest_plot(
                [(_with_cost(trial, each.against), each.gain.gain) for each in duels],
                f"gain of {network} under {trial.judging}",
            ),
            table=alternatives_table(trial, network),
        )


def _under_reward(trial: Trial, reward: str) -> Comparisons | None:
    found = [comparison for comparison in trial.comparisons if comparison.reward == reward]
    if not found:
        return None
    header = ["", "pairs", "before", "after", "gain", "wins", "sign test p", "gap closed"]
    rows = [
        [
            each.arm,
            f"{each.gain.num_pairs:,}",
            f"{each.gain.standard:.3f}",
            f"{each.gain.other:.3f}",
            signed(each.gain.gain),
            percent(each.gain.wins),
            p_value(each.sign_test),
            "" if each.gap_closed is None else percent(each.gap_closed),
        ]
        for each in found
    ]
    return Comparisons(
        heading=_about_reward(trial, reward),
        plot=forest_plot([(each.arm, each.gain.gain) for each in found], f"gain under {reward}"),
        table=Table(header, rows),
    )


def _about_reward(trial: Trial, reward: str) -> str:
    if reward == trial.judging and trial.independent:
        return f"{reward}, the judge, which selected no pair"
    return f"{reward}, which selected the pairs" if reward == trial.selecting else reward


def _categories(trial: Trial) -> ForestPlot | None:
    found = [
        (f"{each.category} ({each.comparison.num_prompts} prompts)", each.comparison.gain.gain)
        for each in trial.categories
        if (each.comparison.arm, each.comparison.reward) == (trial.subject, trial.judging)
    ]
    return forest_plot(found, f"gain under {trial.judging}") if found else None


def _differences(trial: Trial, results: Results, rewards: Sequence[str]) -> Iterator[Chart]:
    mask = results.scored_in_both(trial.subject, STANDARD)
    if not mask.any():
        return
    for reward in rewards:
        after, before = (results.column(arm, reward)[mask] for arm in (trial.subject, STANDARD))
        title = f"{reward}: {trial.subject} − {STANDARD}"
        yield histogram(after - before, title, counted="pairs")


def _diversity(trial: Trial) -> Table | None:
    rows = [
        [each.arm, f"{each.distance:.3f}", "" if each.ratio is None else percent(each.ratio)]
        for each in trial.diversity
    ]
    return Table(["", "distance", "ratio to standard noise"], rows) if rows else None
