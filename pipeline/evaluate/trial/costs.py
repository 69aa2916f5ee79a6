"""Costs of a trial: seconds with their spread, and when a network has recovered its cost."""

from collections.abc import Iterator
from statistics import median

from pipeline.evaluate.document import Table, signed
from pipeline.evaluate.trial.arm_specs import GOLDEN, SECOND_SEED, STANDARD
from pipeline.evaluate.trial.findings import ArmCost, Comparison, Trial
from pipeline.evaluate.trial.samples import DataSet
from pipeline.stages.build_spec import BuildSpec
from pipeline.training.record import TrainingTime

_UNSTEADY = 0.1
"""Spread of the seconds above which they are not compared."""
_BUSY = 1.1
"""Load per CPU core above which processes wait for each other."""
_FEWEST_CHUNKS = 4
"""Number of chunks below which quartiles mean nothing."""

ASSUMPTIONS = (
    "Number of images after which the network has recovered the data set and its training, if it "
    "replaces the method in the row. Only forward evaluations of images count: not the scoring "
    "that best-of-n needs, and neither trials nor failed trainings. A row without a clear gain of "
    "the network compares equal quality; a positive gain comes on top of the saving."
)
"""Explanation of the table of ``break_even``."""


def costs_table(trial: Trial) -> Table:
    """Return the cost of one image of each arm."""
    rows = [
        [
            cost.arm,
            f"{cost.forward_evaluations:.4g}",
            seconds(trial, cost),
            f"{cost.num_samples:,}",
            cost.about,
        ]
        for cost in trial.costs
    ]
    return Table(["arm", "evaluations", "seconds", "samples", "what it is"], rows)


def seconds(trial: Trial, cost: ArmCost) -> str:
    """Format the seconds for one image, with their quartiles if there are enough chunks."""
    text = f"{cost.seconds:.3f}"
    if cost.spread is None or (trial.num_chunks or 0) < _FEWEST_CHUNKS:
        return text
    return f"{text} [{cost.seconds_low:.3f}, {cost.seconds_high:.3f}]"


def unsteady(trial: Trial) -> str | None:
    """Return a warning if the seconds of this trial should not be compared, else None."""
    reasons = []
    spreads = [cost.spread for cost in trial.costs if cost.spread is not None]
    if (trial.num_chunks or 0) < _FEWEST_CHUNKS:
        reasons.append(f"they come from {trial.num_chunks or 0} chunks only")
    elif spreads and median(spreads) > _UNSTEADY:
        reasons.append(f"they vary by {median(spreads):.0%} between chunks (middle half)")
    if trial.load is not None and trial.load > _BUSY:
        reasons.append(f"the load was {trial.load:.1f} processes per CPU core")
    if not reasons:
        return None
    return (
        f"The seconds are uncertain: {' and '.join(reasons)}. Other work may have slowed them "
        "down. Compare forward evaluations, or repeat the trial on an idle machine with more "
        "samples."
    )


def image_cost(trial: Trial) -> str:
    """Return a sentence on the cost of an image."""
    names = dict.fromkeys([trial.subject, STANDARD, GOLDEN])
    each = "; ".join(
        f"{trial.cost(name).forward_evaluations:.4g} forward evaluations and "
        f"{seconds(trial, trial.cost(name))} s with {name}"
        for name in names
    )
    return f"One image takes {each}."


def break_even(trial: Trial, data: DataSet | None, training: TrainingTime | None) -> Table | None:
    """Return after how many images the network has recovered its cost; None if it is unknown.

    Each row is a method that people use in place of a network: several seeds or plain guidance.
    Golden noise for every image is not among them, because the network exists to avoid it.
    """
    if data is None or trial.subject == GOLDEN:
        return None
    spent = _data_evaluations(data) + _training_evaluations(trial, training)
    own = trial.cost(trial.subject).forward_evaluations
    rows = [
        [
            duel.against,
            _images(spent, trial.cost(duel.against).forward_evaluations - own, duel),
            f"{trial.cost(duel.against).forward_evaluations:.4g}",
            signed(duel.gain.gain),
        ]
        for duel in trial.alternatives(trial.subject)
        if not _is_made_by_proposer(trial, duel.against) and duel.against != SECOND_SEED
    ]
    header = ["instead of", "images", "evaluations per image", f"gain of {trial.subject} over it"]
    return Table(header, rows) if rows else None


def _images(spent: float, saved: float, duel: Comparison) -> str:
    """Format the number of images after which ``saved`` evaluations an image pay for ``spent``."""
    if duel.gain.gain.high < 0:
        return "no replacement: it is better"
    return f"{spent / saved:,.0f}" if saved > 0 else "never: it costs no more"


def _is_made_by_proposer(trial: Trial, arm: str) -> bool:
    """Return True for golden noise, and for a network once or twice."""
    return arm.removesuffix(", twice") in {GOLDEN, *trial.networks}


def invested(trial: Trial, data: DataSet | None, training: TrainingTime | None) -> Iterator[str]:
    """Yield sentences on the cost of the data set and of the training, if they are known."""
    if data is None:
        return
    pairs = sum(manifest.funnel.in_shards for manifest in data.manifests)
    candidates = sum(manifest.plan.num_candidates for manifest in data.manifests)
    evaluations = _data_evaluations(data)
    yield (
        f"The data set: {candidates:,} candidates, {pairs:,} pairs, {evaluations:,} forward "
        f"evaluations, about {evaluations * _seconds_per_evaluation(trial):,.0f} s on one worker "
        "at the speed measured here."
    )
    if trial.subject == GOLDEN:
        return
    if training is None:
        yield (
            f"The training time of {trial.subject} is not recorded beside the network, so it is "
            "not included."
        )
    else:
        yield (
            f"The training of {trial.subject} took {training.seconds:,.0f} s on "
            f"{training.processes} × {training.device}, as much as "
            f"{_training_evaluations(trial, training):,.0f} forward evaluations here."
        )


def _data_evaluations(data: DataSet) -> int:
    return sum(
        round(manifest.plan.num_candidates * BuildSpec.of(manifest.plan).mean_evaluations())
        for manifest in data.manifests
    )


def _training_evaluations(trial: Trial, training: TrainingTime | None) -> float:
    """Convert the time of the training to forward evaluations at the speed of this trial."""
    if training is None:
        return 0.0
    return training.seconds * training.processes / _seconds_per_evaluation(trial)


def _seconds_per_evaluation(trial: Trial) -> float:
    standard = trial.cost(STANDARD)
    return standard.seconds / standard.forward_evaluations
