"""One deterministic DDIM step between two noise levels, and its inverse.

Denoising Diffusion Implicit Models, arXiv 2010.02502, eq. 12 with η = 0. With a = √ᾱ, s = √(1-ᾱ)
of the level that is left and a', s' of the level that is reached,

    x_0 = (x - s·ε) / a        x' = a'·x_0 + s'·ε

is linear in x and in the network's output o, whatever it predicts: x' = p·x + q·o. Steps are taken
in that form because it needs no division by a = 0 (zero terminal SNR) for v-prediction, and because
its inverse, x = (x' - q·o) / p, holds for every prediction (diffusers' ``DDIMInverseScheduler``
does not undo a v-prediction step).

Latents have any shape; ᾱ are Python floats, so the coefficients are float64 before they meet them.
"""

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor

if TYPE_CHECKING:
    from pipeline.models.denoiser import Prediction


class StepCoefficients(NamedTuple):
    """The step x' = p·x + q·o."""

    p: float
    q: float


def step_coefficients(
    prediction: "Prediction", alpha_from: float, alpha_to: float
) -> StepCoefficients:
    """p and q of the step from ᾱ = ``alpha_from`` to ᾱ = ``alpha_to``.

    epsilon: p = a'/a, q = s' - p·s. v (v = a·ε - s·x_0): p = a'a + s's, q = s'a - a's.
    """
    a, s = sqrt(alpha_from), sqrt(1 - alpha_from)
    a_to, s_to = sqrt(alpha_to), sqrt(1 - alpha_to)
    if prediction == "v_prediction":
        return StepCoefficients(p=a_to * a + s_to * s, q=s_to * a - a_to * s)
    if a == 0:
        raise ValueError("at ᾱ = 0 (zero terminal SNR) a network that predicts ε says nothing")
    return StepCoefficients(p=a_to / a, q=s_to - a_to * s / a)


def denoise_step(
    latents: Tensor,
    output: Tensor,
    alpha_from: float,
    alpha_to: float,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """x' = p·x + q·o, from the noisier ᾱ = ``alpha_from`` to the cleaner ``alpha_to``."""
    p, q = step_coefficients(prediction, alpha_from, alpha_to)
    return p * latents + q * output


def invert_step(
    latents: Tensor,
    output: Tensor,
    alpha_from: float,
    alpha_to: float,
    prediction: "Prediction" = "epsilon",
) -> Tensor:
    """x = (x' - q·o) / p, from the cleaner ᾱ = ``alpha_from`` to the noisier ``alpha_to``.

    Undoes ``denoise_step`` exactly when ``output`` is the one that step was taken with.
    """
    p, q = step_coefficients(prediction, alpha_from=alpha_to, alpha_to=alpha_from)
    return (latents - q * output) / p


def kappa(alpha_noisy: float, alpha_clean: float) -> float:
    """κ in x' = x + κ·(ε_inv - ε_den): what one step and its inversion do to a noise.

    Step down with ε_den and up again with ε_inv, and the difference is κ = -q/p = s - s'·a/a': the
    size of the step decides the size of the perturbation ("Golden Noise", arXiv 2411.09502).
    """
    p, q = step_coefficients("epsilon", alpha_noisy, alpha_clean)
    return -q / p


def to_eps(prediction: "Prediction", output: Tensor, latents: Tensor, alpha: float) -> Tensor:
    """ε from what the network said at level ᾱ = ``alpha``; ε = s·x + a·v for v-prediction.

    Progressive Distillation, arXiv 2202.00512, appendix D.
    """
    if prediction == "epsilon":
        return output
    return sqrt(1 - alpha) * latents + sqrt(alpha) * output


def pred_x0(latents: Tensor, eps: Tensor, alpha: float) -> Tensor:
    """The clean latents that ``eps`` implies at level ᾱ = ``alpha``: (x - s·ε) / a."""
    return (latents - sqrt(1 - alpha) * eps) / sqrt(alpha)
