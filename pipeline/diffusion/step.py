"""One deterministic step between two noise levels, and its inverse.

At a level (a, s) the latents are x = a·x_0 + s·ε: a = √ᾱ and s = √(1-ᾱ) for models that were
trained with ᾱ, a = 1-σ and s = σ for flow matching. Denoising Diffusion Implicit Models, arXiv
2010.02502, eq. 12 with η = 0, and Euler's step of Flow Matching, arXiv 2210.02747, are both

    x' = a'·x_0 + s'·ε        with x_0 and ε as the network's output o implies them at (a, s),

which is linear in x and in o, whatever the network predicts: x' = p·x + q·o. Steps are taken in
that form because it needs no division by a = 0 (zero terminal SNR) for v-prediction, and because
its inverse, x = (x' - q·o) / p, holds for every prediction (diffusers' ``DDIMInverseScheduler``
does not undo a v-prediction step, and there is none for flow matching).

Latents have any shape; levels are Python floats, so the coefficients are float64 before they meet
them.
"""

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.diffusion.denoiser import Prediction


class NoiseLevel(NamedTuple):
    """How much of the latents x = a·x_0 + s·ε is signal, and how much noise."""

    signal: float
    """a."""
    noise: float
    """s."""

    @classmethod
    def of_alpha(cls, alpha: float) -> "NoiseLevel":
        """The level of ᾱ = ``alpha``, where a² + s² = 1."""
        return cls(signal=sqrt(alpha), noise=sqrt(1 - alpha))

    @classmethod
    def of_sigma(cls, sigma: float) -> "NoiseLevel":
        """The level of a flow at σ = ``sigma``, where a + s = 1."""
        return cls(signal=1 - sigma, noise=sigma)


class StepCoefficients(NamedTuple):
    """The step x' = p·x + q·o."""

    p: float
    q: float


def step_coefficients(
    prediction: "Prediction", level_from: NoiseLevel, level_to: NoiseLevel
) -> StepCoefficients:
    """p and q of the step between two levels.

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
        raise ValueError("at ᾱ = 0 (zero terminal SNR) a network that predicts ε says nothing")
    return StepCoefficients(p=a_to / a, q=s_to - a_to * s / a)


def denoise_step(
    latents: Tensor,
    output: Tensor,
    level_from: NoiseLevel,
    level_to: NoiseLevel,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """x' = p·x + q·o, from the noisier ``level_from`` to the cleaner ``level_to``."""
    p, q = step_coefficients(prediction, level_from, level_to)
    return p * latents + q * output


def invert_step(
    latents: Tensor,
    output: Tensor,
    level_from: NoiseLevel,
    level_to: NoiseLevel,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """x = (x' - q·o) / p, from the cleaner ``level_from`` to the noisier ``level_to``.

    Undoes ``denoise_step`` exactly when ``output`` is the one that step was taken with.
    """
    p, q = step_coefficients(prediction, level_from=level_to, level_to=level_from)
    return (latents - q * output) / p


def kappa(prediction: "Prediction", noisy: NoiseLevel, clean: NoiseLevel) -> float:
    """κ in x' = x + κ·(o_inv - o_den): what one step and its inversion do to a noise.

    Step down with o_den and up again with o_inv, and the difference is κ = -q/p, for ε-prediction
    s - s'·a/a': the size of the step decides the size of the perturbation ("Golden Noise", arXiv
    2411.09502).
    """
    p, q = step_coefficients(prediction, noisy, clean)
    return -q / p
