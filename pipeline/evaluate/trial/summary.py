"""One-page summary of a trial: gains at equal cost, controls, costs and limits."""

from collections.abc import Iterator

from pipeline.evaluate.document import ReportSection, Table, p_value, percent, share, signed
from pipeline.evaluate.trial.arm_specs import BEST_OF, GOLDEN, STANDARD
from pipeline.evaluate.trial.costs import ASSUMPTIONS, break_even, image_cost, invested, unsteady
from pipeline.evaluate.trial.findings import Comparison, Trial
from pipeline.evaluate.trial.samples import DataSet
from pipeline.training.record import TrainingTime


def summary(
    trial: Trial, data: DataSet | None, training: TrainingTime | None = None
) -> list[ReportSection]:
    """Return the sections of the summary. ``training`` is that of the subject, if it is known."""
    return [
        ReportSection(f"Trial summary: {trial.subject} against {STANDARD}", lead(trial, data)),
        ReportSection("Gain at equal cost", [*_at_equal_cost(trial)]),
        ReportSection("Controls", [*control_sentences(trial)]),
        ReportSection("Cost", [*_costs(trial, data, training)]),
        ReportSection("Limits", [*_limits(trial)]),
    ]


def lead(trial: Trial, data: DataSet | None) -> list[str]:
    """Return the main result, at equal cost first, and a description of the comparison."""
    found = trial.comparison(trial.subject, trial.judging)
    if found is None:
        result = [f"{trial.subject} and {STANDARD} share no scored sample, so there is no result."]
    else:
        result = [
            " ".join([_verdict(trial, found), *_rivals(trial)]),
            " ".join(_details(trial, found)),
        ]
    return [*result, *_setting(trial, data)]


def methods_table(trial: Trial) -> Table:
    """Return the gain of each method over standard noise, sorted by cost."""
    header = ["method", "evaluations per image", "pairs", "gain", "wins", "gap closed"]
    rows = [
        [
            comparison.arm,
            _evaluations(trial, comparison.arm),
            f"{comparison.gain.num_pairs:,}",
            signed(comparison.gain.gain),
            percent(comparison.gain.wins),
            share(comparison.gap_closed),
        ]
        for comparison in trial.methods()
    ]
    return Table(header, rows)


def alternatives_table(trial: Trial, network: str) -> Table:
    """Return the gain of a network over each alternative, sorted by cost."""
    header = [f"{network} against", "evaluations per image", "pairs", "gain", "wins"]
    rows = [
        [
            comparison.against,
            _evaluations(trial, comparison.against),
            f"{comparison.gain.num_pairs:,}",
            signed(comparison.gain.gain),
            percent(comparison.gain.wins),
        ]
        for comparison in trial.alternatives(network)
    ]
    return Table(header, rows)


def control_sentences(trial: Trial) -> Iterator[str]:
    """Yield a sentence for each control under the judging reward."""
    for found in trial.controlled():
        if found.against == STANDARD:
            meaning = _by_sign(
                found,
                zero="indistinguishable from zero, as expected of a control",
                above="a gain as well, so this part of the gain does not depend on the prompt",
                below="worse than standard noise",
            )
        else:
            meaning = _by_sign(
                found,
                zero="indistinguishable from zero",
                above="the noise carries the content of the prompt that it was made for",
                below="worse than standard noise",
            )
        yield (
            f"{found.arm} ({trial.cost(found.arm).about}): {signed(found.gain.gain)} against "
            f"{found.against}; {meaning}."
        )


def _verdict(trial: Trial, found: Comparison) -> str:
    verdict = _by_sign(
        found,
        zero="is indistinguishable from standard noise",
        above="is better than standard noise",
        below="is worse than standard noise",
    )
    return (
        f"{trial.subject} {verdict}: it gains {signed(found.gain.gain)} under {trial.judging}, for "
        f"{_evaluations(trial, trial.subject)} forward evaluations per image instead of "
        f"{_evaluations(trial, STANDARD)}."
    )


def _rivals(trial: Trial) -> Iterator[str]:
    """Yield sentences on the best method of at most the subject's cost, and on best-of-n."""
    proposed = {trial.subject, GOLDEN, *trial.networks}
    others = [found for found in trial.methods() if found.arm not in proposed]
    budget = trial.cost(trial.subject).forward_evaluations
    affordable = [c for c in others if trial.cost(c.arm).forward_evaluations <= budget]
    if affordable:
        best = max(affordable, key=lambda found: found.gain.gain.value)
        yield f"At equal cost, the best alternative is {_rival(trial, best)}."
    # The number of seeds is rounded up, so best-of-n may cost more than the subject.
    dearer = [c for c in others if c.arm.startswith(BEST_OF) and c not in affordable]
    if dearer:
        yield f"At a higher cost, there is {_rival(trial, dearer[0])}."


def _rival(trial: Trial, rival: Comparison) -> str:
    """Return a rival with its cost and gain, and the subject's gain over it if that is known."""
    text = (
        f"{rival.arm} ({_evaluations(trial, rival.arm)} evaluations), which gains "
        f"{signed(rival.gain.gain)}"
    )
    duels = [duel for duel in trial.alternatives(trial.subject) if duel.against == rival.arm]
    return f"{text}; {trial.subject} gains {signed(duels[0].gain.gain)} over it" if duels else text


def _details(trial: Trial, found: Comparison) -> Iterator[str]:
    gain, test = found.gain, p_value(found.sign_test)
    yield (
        f"Its mean score is {gain.other:.3f} instead of {gain.standard:.3f} on {gain.num_pairs:,} "
        f"pairs. It wins {percent(gain.wins)} of them (sign test over {found.num_prompts:,} "
        f"prompts: p {test if test.startswith('<') else f'= {test}'})."
    )
    if found.gap_closed is not None and trial.subject != GOLDEN:
        yield (
            f"It closes {percent(found.gap_closed)} of the gap between standard and golden noise."
        )


def _setting(trial: Trial, data: DataSet | None) -> Iterator[str]:
    checked = (
        f"No prompt is in the train or validation split of {data.url}, and no seed belongs to one "
        "of its candidates."
        if data is not None
        else "No data set was given (--data), so it was not checked that they are held out."
    )
    yield (
        f"The comparison uses {trial.num_prompts:,} prompts with "
        f"{trial.num_samples // trial.num_prompts} seeds each, {trial.num_samples:,} pairs. "
        f"{checked} All intervals are 95%, by bootstrap over prompts."
    )
    if trial.independent:
        yield f"The judge is {trial.judging}, which selected no pair; {trial.selecting} did."
    else:
        yield (
            f"The judge is {trial.judging}, which also selected the pairs. Part of the gain may be "
            "specific to this reward. Add a reward with select = false to judge independently."
        )


def _at_equal_cost(trial: Trial) -> Iterator[str | Table]:
    yield (
        "Each method is compared with standard noise of the same prompt and seed, which takes "
        f"{_evaluations(trial, STANDARD)} evaluations per image. Rows are sorted by cost; compare "
        "methods of similar cost."
    )
    yield methods_table(trial)
    if trial.subject in trial.networks:
        yield alternatives_table(trial, trial.subject)


def _costs(
    trial: Trial, data: DataSet | None, training: TrainingTime | None
) -> Iterator[str | Table]:
    yield image_cost(trial)
    warning = unsteady(trial)
    if warning is not None:
        yield warning
    yield from invested(trial, data, training)
    table = break_even(trial, data, training)
    if table is not None:
        yield ASSUMPTIONS
        yield table


def _limits(trial: Trial) -> Iterator[str]:
    """Yield sentences on guided comparisons and on alternatives that are not clearly worse."""
    guided = [
        found
        for found in trial.comparisons
        if found.reward == trial.judging
        and found.against != STANDARD
        and found.arm not in trial.controls
    ]
    for found in guided:
        meaning = _by_sign(
            found, zero="indistinguishable from zero", above="it helps", below="it harms"
        )
        yield f"{found.arm}: {signed(found.gain.gain)} against {found.against}; {meaning}."
    duels = trial.alternatives(trial.subject)
    for duel in duels:
        if duel.gain.gain.low <= 0:
            meaning = f"{duel.against} is better" if duel.excludes_zero else "no clear difference"
            yield (
                f"{duel.arm} against {duel.against} ({_evaluations(trial, duel.against)} "
                f"evaluations per image): {signed(duel.gain.gain)}; {meaning}."
            )
    if not guided and not duels:
        yield "Not measured: the trial has neither comparisons under guidance nor networks."


def _evaluations(trial: Trial, arm: str) -> str:
    """Format the number of forward evaluations for one image of an arm."""
    return f"{trial.cost(arm).forward_evaluations:.4g}"


def _by_sign(found: Comparison, *, zero: str, above: str, below: str) -> str:
    """Return the phrase for a gain that is indistinguishable from, above or below zero."""
    if not found.excludes_zero:
        return zero
    return above if found.gain.gain.value > 0 else below
