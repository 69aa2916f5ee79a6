"""Pages of a trial: the report with plots and images, and the summary.

A page is one self-contained HTML file. The texts and the markup are in the templates.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined

from pipeline.evaluate.document import ReportSection, Table, p_value, percent, signed
from pipeline.evaluate.trial.arm_specs import STANDARD
from pipeline.evaluate.trial.findings import Comparison, Trial
from pipeline.evaluate.trial.gallery import Examples, gallery, mean_spectra, perturbation
from pipeline.evaluate.trial.plots import ForestPlot, Histogram, forest_plot, histogram, line_plot
from pipeline.evaluate.trial.results import Results
from pipeline.evaluate.trial.summary import alternatives_table, control_sentences, methods_table

_PERTURBATIONS = 2
"""Number of samples of each kind: largest gains, largest losses and random."""


@dataclass(frozen=True, kw_only=True)
class HeadlineNumber:
    """Number of the headline, with its interval if it has one."""

    value: str
    about: str
    sign: str = ""
    """CSS class: "good" or "bad" if the interval excludes zero, otherwise empty."""


@dataclass(frozen=True, kw_only=True)
class Comparisons:
    """Comparisons under one heading, as a plot and a table."""

    heading: str
    plot: ForestPlot
    table: Table


def trial_page(trial: Trial, results: Results, examples: Examples, lead: Sequence[str]) -> str:
    """Return the report of a trial as HTML. ``lead`` has the paragraphs of its main result."""
    rewards = [trial.judging, *(name for name in results.rewards if name != trial.judging)]
    # A sample can be in several lists of examples, so duplicates are removed.
    perturbed = dict.fromkeys(
        sample
        for samples in (examples.gains, examples.losses, examples.random)
        for sample in samples[:_PERTURBATIONS]
    )
    return _render(
        "trial.html.j2",
        trial=trial,
        standard=STANDARD,
        lead=lead,
        figures=list(_figures(trial)),
        methods=_methods(trial),
        alternatives=list(_alternatives(trial)),
        controls=_forest(trial.controlled()),
        control_sentences=list(control_sentences(trial)),
        rewards=[_under_reward(trial, reward) for reward in rewards],
        categories=_categories(trial),
        differences=list(_differences(trial, results, rewards)),
        diversity=_diversity(trial),
        costs=_costs(trial),
        galleries={
            f"Largest gains of {trial.subject}, by {trial.judging}": [
                *gallery(results, examples.gains)
            ],
            f"Largest losses of {trial.subject}, by {trial.judging}": [
                *gallery(results, examples.losses)
            ],
            "Random samples": [*gallery(results, examples.random)],
        },
        spectra=line_plot(mean_spectra(results), "radial frequency", width=560),
        perturbations=[perturbation(results, sample, trial.subject) for sample in perturbed],
    )


def summary_page(sections: Sequence[ReportSection]) -> str:
    """Return a summary as HTML. The heading of its first section is the title."""
    return _render("summary.html.j2", sections=sections)


def _render(template: str, **content: object) -> str:
    return _environment().get_template(template).render(content)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline.evaluate.trial"),
        autoescape=True,
        # A misspelled name in a template raises instead of rendering as nothing.
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:.6g}"
    return environment


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
    return forest_plot([(each.arm, each.gain.gain) for each in found]) if found else None


def _with_cost(trial: Trial, arm: str) -> str:
    return f"{arm} ({trial.cost(arm).forward_evaluations:.4g})"


def _methods(trial: Trial) -> Comparisons | None:
    found = trial.methods()
    if not found:
        return None
    return Comparisons(
        heading="",
        plot=forest_plot([(_with_cost(trial, each.arm), each.gain.gain) for each in found]),
        table=methods_table(trial),
    )


def _alternatives(trial: Trial) -> Iterator[Comparisons]:
    """Yield the comparisons of each network with its alternatives, the subject's first."""
    for network in sorted(trial.networks, key=lambda name: name != trial.subject):
        duels = trial.alternatives(network)
        yield Comparisons(
            heading=f"{network} against each alternative",
            plot=forest_plot([(_with_cost(trial, each.against), each.gain.gain) for each in duels]),
            table=alternatives_table(trial, network),
        )


def _under_reward(trial: Trial, reward: str) -> Comparisons:
    found = [comparison for comparison in trial.comparisons if comparison.reward == reward]
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
        plot=forest_plot([(each.arm, each.gain.gain) for each in found]),
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
    return forest_plot(found) if found else None


def _differences(trial: Trial, results: Results, rewards: Sequence[str]) -> Iterator[Histogram]:
    mask = results.scored_in_both(trial.subject, STANDARD)
    if not mask.any():
        return
    for reward in rewards:
        after, before = (results.column(arm, reward)[mask] for arm in (trial.subject, STANDARD))
        yield histogram(after - before, f"{reward}: {trial.subject} − {STANDARD}")


def _diversity(trial: Trial) -> Table | None:
    rows = [
        [each.arm, f"{each.distance:.3f}", "" if each.ratio is None else percent(each.ratio)]
        for each in trial.diversity
    ]
    return Table(["", "distance", "ratio to standard noise"], rows) if rows else None


def _costs(trial: Trial) -> Table:
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
    return Table(["", "evaluations", "seconds", "samples", ""], rows)
