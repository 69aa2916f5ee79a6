"""One deterministic step between two noise levels, and its inverse.

At a level (a, s) the latents are x = a·x_0 + s·ε: a = √ᾱ and s = √(1-ᾱ) for models that were
trained with ᾱ, a = 1-σ and s = σ for flow matching. Denoising Diffusion Implicit Models, arXiv
2010.02502, eq. 12 with η = 0, and Euler's step of Flow Matching, arXiv 2210.02747, are both

    x' = a'·x_0 + s'·ε        with x_0 and ε as the network's output o implies them at (a, s),

which is linear in x and in o, whatever the network predicts: x' = p·x + q·o. Steps are taken in
that form for two reasons. For v-prediction it needs no division by a = 0 (zero terminal SNR). And
its inverse, x = (x' - q·o) / p, holds for every prediction. diffusers' ``DDIMInverseScheduler``
does not invert a v-prediction step, and there is none for flow matching.

Latents have any shape. Levels are Python floats, so coefficients are computed in float64.
"""

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Prediction


class NoiseLevel(NamedTuple):
    """Signal and noise coefficients of the latents x = a·x_0 + s·ε."""

    signal: float
    """a."""
    noise: float
    """s."""

    @classmethod
    def of_alpha(cls, alpha: float) -> "NoiseLevel":
        """Return the level of ᾱ = ``alpha``, where a² + s² = 1."""
        return cls(signal=sqrt(alpha), noise=sqrt(1 - alpha))

    @classmethod
    def of_sigma(cls, sigma: float) -> "NoiseLevel":
        """Return the level of a flow at σ = ``sigma``, where a + s = 1."""
        return cls(signal=1 - sigma, noise=sigma)


class StepCoefficients(NamedTuple):
    """Coefficients of the step x' = p·x + q·o."""

    p: float
    q: float


def step_coefficients(
    prediction: "Prediction", level_from: NoiseLevel, level_to: NoiseLevel
) -> StepCoefficients:
    """Return p and q of the step between two levels.

    epsilon: p = a'/a, q = s' - p·s. v (v = a·ε - s·x_0): p = a'a + s's, q = s'a - a's.
    flow (v = ε - x_0): p = 1, q = s' - s.
    """
    (a, s), (a_to, s_to) = level_from, level_to
    match prediction:
        case "flow":
            return StepCoefficients(p=1.0, q=s_to - s)
        case "v_prediction":
            return StepCoefficients(p=a_to * a + s_to * s, q=s_to * a - a_to * s)
    if a == 0:
        raise ValueError("at ᾱ = 0 (zero terminal SNR) a prediction of ε does not determine x_0")
    return StepCoefficients(p=a_to / a, q=s_to - a_to * s / a)


def denoise_step(
    latents: Tensor,
    output: Tensor,
    level_from: NoiseLevel,
    level_to: NoiseLevel,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """Return x' = p·x + q·o, from the noisier ``level_from`` to the cleaner ``level_to``."""
    p, q = step_coefficients(prediction, level_from, level_to)
    return p * latents + q * output


def invert_step(
    latents: Tensor,
    output: Tensor,
    level_from: NoiseLevel,
    level_to: NoiseLevel,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """Return x = (x' - q·o) / p, from the cleaner ``level_from`` to the noisier ``level_to``.

    Inverts ``denoise_step`` exactly if ``output`` is the one that the step used.
    """
    p, q = step_coefficients(prediction, level_from=level_to, level_to=level_from)
    return (latents - q * output) / p


def kappa(prediction: "Prediction", noisy: NoiseLevel, clean: NoiseLevel) -> float:
    """Return κ in x' = x + κ·(o_inv - o_den), the effect of one step and its inversion on a noise.

    A denoising step with output o_den and its inversion with o_inv give κ = -q/p, which is
    s - s'·a/a' for ε-prediction. The size of the step decides the size of the perturbation ("Golden
    Noise", arXiv 2411.09502).
    """
    p, q = step_coefficients(prediction, noisy, clean)
    return -q / p
