"""One-page summary of a trial: gains, controls, costs and limits."""

from collections.abc import Iterator, Sequence

from pipeline.evaluate.document import ReportSection, Table, p_value, percent, share, signed
from pipeline.evaluate.trial.arm_specs import GOLDEN, STANDARD
from pipeline.evaluate.trial.findings import Comparison, Trial
from pipeline.evaluate.trial.samples import DataSet
from pipeline.stages.build_spec import BuildSpec


def summary(trial: Trial, data: DataSet | None) -> list[ReportSection]:
    """Return the sections of the summary."""
    gains = [c for c in trial.comparisons if c.reward == trial.judging and c.against == STANDARD]
    return [
        ReportSection(f"Trial summary: {trial.subject} against {STANDARD}", sentences(trial, data)),
        ReportSection("What it gained", [_table(gains)]),
        ReportSection("What the controls say", [*_controls(trial)]),
        ReportSection("What it costs", [*_costs(trial, data)]),
        ReportSection("Where it does not help", [*_limits(trial)]),
    ]


def sentences(trial: Trial, data: DataSet | None) -> list[str]:
    """Return the main result and a description of the comparison."""
    return [*_verdict(trial), *_setting(trial, data)]


def _verdict(trial: Trial) -> Iterator[str]:
    found = trial.comparison(trial.subject, trial.judging)
    if found is None:
        yield f"{trial.subject} and {STANDARD} have no scored image in common: nothing was found."
        return
    gain = found.gain
    said = _by_sign(
        found,
        zero="is not told from standard noise: the interval includes zero",
        above="beats standard noise: the interval excludes zero",
        below="is worse than standard noise: the interval excludes zero",
    )
    closed = (
        f" It closes {percent(found.gap_closed)} of the gap between standard and golden noise."
        if found.gap_closed is not None and trial.subject != GOLDEN
        else ""
    )
    yield (
        f"{trial.subject} {said}. Under {trial.judging} it goes from {gain.standard:.3f} to "
        f"{gain.other:.3f}, a gain of {signed(gain.gain)} on {gain.num_pairs:,} pairs; it wins "
        f"{percent(gain.wins)} (sign test over {found.num_prompts:,} prompts: p "
        f"{_equals(found.sign_test)}).{closed}"
    )


def _equals(value: float) -> str:
    said = p_value(value)
    return said if said.startswith("<") else f"= {said}"


def _setting(trial: Trial, data: DataSet | None) -> Iterator[str]:
    checked = (
        f"none of the prompts is in the train or validation split of {data.url}, none of the seeds "
        "is one of its candidates'"
        if data is not None
        else "that they are held out was not checked, for no data set was named (--data)"
    )
    yield (
        f"Compared on {trial.num_prompts:,} prompts with {trial.num_samples // trial.num_prompts} "
        f"seeds each, {trial.num_samples:,} pairs: {checked}. All intervals are 95%, by bootstrap "
        "over prompts."
    )
    if trial.independent:
        yield f"{trial.judging} judges. It selected no pair; {trial.selecting} did."
    else:
        yield (
            f"{trial.judging} judges, and it also selected the pairs: a gain under it may be its "
            "own. Name a reward with select = false to judge independently."
        )


def _table(found: Sequence[Comparison]) -> Table:
    header = ["against standard noise", "pairs", "gain", "wins", "gap closed"]
    rows = [
        [
            comparison.arm,
            f"{comparison.gain.num_pairs:,}",
            signed(comparison.gain.gain),
            percent(comparison.gain.wins),
            share(comparison.gap_closed),
        ]
        for comparison in found
    ]
    return Table(header, rows)


def _controls(trial: Trial) -> Iterator[str]:
    """Yield a sentence for each control under the judging reward."""
    for found in trial.comparisons:
        if found.arm in trial.controls and found.reward == trial.judging:
            about = trial.cost(found.arm).about
            said = _said_of_control if found.against == STANDARD else _said_of_content
            yield (
                f"{found.arm} ({about}): {signed(found.gain.gain)} against {found.against}; "
                f"{said(found)}."
            )


def _said_of_control(found: Comparison) -> str:
    return _by_sign(
        found,
        zero="not told from zero, as a control should be",
        above="it gains too: so much of the gain is not the prompt's own",
        below="it gains nothing, and harms",
    )


def _said_of_content(found: Comparison) -> str:
    return _by_sign(
        found,
        zero="not told from zero",
        above="the noise brings along what its own prompt says, whatever is asked for",
        below="less than by chance",
    )


def _costs(trial: Trial, data: DataSet | None) -> Iterator[str]:
    standard, golden = trial.cost(STANDARD), trial.cost(GOLDEN)
    subject = trial.cost(trial.subject)
    yield (
        f"An image: {subject.forward_evaluations:.4g} forward evaluations and "
        f"{subject.seconds:.3f} s with {trial.subject}; {standard.forward_evaluations:.4g} and "
        f"{standard.seconds:.3f} s with {STANDARD}; {golden.forward_evaluations:.4g} and "
        f"{golden.seconds:.3f} s with {GOLDEN}."
    )
    if data is None:
        return
    evaluations = sum(
        manifest.plan.num_candidates * BuildSpec.of(manifest.plan).evaluations()
        for manifest in data.manifests
    )
    kept = sum(manifest.funnel.kept for manifest in data.manifests)
    candidates = sum(manifest.plan.num_candidates for manifest in data.manifests)
    seconds = evaluations * standard.seconds / standard.forward_evaluations
    sentence = (
        f"The data set: {candidates:,} candidates, {kept:,} pairs, {evaluations:,} forward "
        f"evaluations, about {seconds:,.0f} s of one worker "
        "at the speed seen here; training comes on top."
    )
    saved = golden.forward_evaluations - subject.forward_evaluations
    if trial.subject != GOLDEN and saved > 0:
        sentence += (
            f" Against golden noise for every image it has paid for itself after "
            f"{evaluations / saved:,.0f} images."
        )
    yield sentence


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
        yield f"{found.arm}: {signed(found.gain.gain)} against {found.against}; {_said(found)}."
    duels = [duel for duel in trial.duels if duel.reward == trial.judging]
    for duel in duels:
        if duel.gain.gain.low <= 0:
            cost = trial.cost(duel.against).forward_evaluations
            yield (
                f"{duel.arm} against {duel.against} ({cost:.4g} evaluations an image): "
                f"{signed(duel.gain.gain)}; {_apart(duel)}."
            )
    if not guided and not duels:
        yield "Not measured: no comparison under guidance and no network were asked for."


def _apart(duel: Comparison) -> str:
    return f"{duel.against} is better" if duel.excludes_zero else "not told apart"


def _said(found: Comparison) -> str:
    return _by_sign(found, zero="not told from zero", above="it helps", below="it harms")


def _by_sign(found: Comparison, *, zero: str, above: str, below: str) -> str:
    """Return the phrase for a gain that is indistinguishable from, above or below zero."""
    if not found.excludes_zero:
        return zero
    return above if found.gain.gain.value > 0 else below
