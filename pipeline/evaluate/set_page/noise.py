"""Charts that compare golden noises with Gaussian noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import erf, prod, sqrt

import numpy as np

from pipeline.config.plan import Plan
from pipeline.evaluate.compare import Values
from pipeline.evaluate.document import Table
from pipeline.evaluate.pages.charts import Chart, distributions
from pipeline.evaluate.scores import ScoreTable

_LIMIT = 6.0
"""End of the axes in standard errors."""
_MOST_VALUES = 2**40
"""Number of values that no noise has."""


@dataclass(frozen=True, kw_only=True)
class NoiseCharts:
    """Statistics of all golden noises."""

    charts: Sequence[Chart]
    table: Table
    num_values: int
    """Number of values of one noise."""


def noise_charts(plan: Plan, scores: ScoreTable, latent_shape: Sequence[int]) -> NoiseCharts | None:
    """Return the distributions of mean, standard deviation and kurtosis of golden noises.

    They are measured in standard errors of Gaussian noise with as many values: 1/√D for the mean,
    1/√(2D) for the standard deviation, √(24/D) for the excess kurtosis. The gate uses the same
    units. Returns None if no golden noise was made.
    """
    present = np.isfinite(scores.std)
    # The shape of a receipt is not trusted.
    size = prod(latent_shape) if latent_shape and min(latent_shape) > 0 else 0
    if not present.any() or not 0 < size < _MOST_VALUES:
        return None
    gate = plan.settings.gate
    charts = []
    for name, title, centre, error, limit in (
        ("mean", "mean", 0.0, 1 / sqrt(size), None),
        ("std", "standard deviation", 1.0, 1 / sqrt(2 * size), gate.max_norm_deviation),
        ("kurtosis", "excess kurtosis", 0.0, sqrt(24 / size), gate.max_kurtosis_deviation),
    ):
        deviation = (scores.noise_stats[name][present] - centre) / error
        rules = [] if limit is None else [(-limit, "gate"), (limit, "gate")]
        charts.append(
            distributions(
                [("golden noise", deviation)],
                f"{title}, deviation in standard errors",
                limits=(-_LIMIT, _LIMIT),
                expected=_normal,
                rules=rules,
            )
        )
    rows = [
        _spread("mean", scores.noise_stats["mean"][present], "0"),
        _spread("standard deviation", scores.std[present], "1"),
        _spread("excess kurtosis", scores.kurtosis[present], "0"),
        _spread("cosine similarity to the source noise", scores.noise_stats["cosine"][present], ""),
        _spread("relative change", scores.noise_stats["relative_change"][present], ""),
    ]
    header = ["statistic", "5%", "median", "95%", "Gaussian noise"]
    return NoiseCharts(charts=charts, table=Table(header, rows), num_values=size)


def _normal(value: float) -> float:
    """Return the standard normal distribution function. Its tails are in the outermost bins."""
    if abs(value) >= _LIMIT:
        return 0.0 if value < 0 else 1.0
    return 0.5 * (1 + erf(value / sqrt(2)))


def _spread(name: str, values: Values, gaussian: str) -> list[str]:
    low, middle, high = np.nanquantile(values, [0.05, 0.5, 0.95])
    return [name, *(f"{each:.4f}".replace("-", "−") for each in (low, middle, high)), gaussian]
