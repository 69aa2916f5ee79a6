"""Noise levels of a run, from the noisiest to the cleanest, and the steps between them.

At a level (a, s) the latents are x = a·x_0 + s·ε: a = √ᾱ and s = √(1-ᾱ) for models that were
trained with ᾱ, a = 1-σ and s = σ for flow matching. Denoising Diffusion Implicit Models, arXiv
2010.02502, eq. 12 with η = 0, and Euler's step of Flow Matching, arXiv 2210.02747, are both

    x' = a'·x_0 + s'·ε        with x_0 and ε as the network's output o implies them at (a, s),

which is linear in x and in o for every type of prediction: x' = p·x + q·o. Steps are taken in
that form for two reasons. For v-prediction it needs no division by a = 0 (zero terminal SNR). And
its inverse, x = (x' - q·o) / p, holds for every prediction. diffusers' ``DDIMInverseScheduler``
does not invert a v-prediction step, and there is none for flow matching.

Latents have any shape. Levels are Python floats, so coefficients are computed in float64.
N num_inference_steps, T number of training timesteps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import sqrt
from typing import Literal, NamedTuple

import numpy as np
from torch import Tensor

from pipeline.config.proposers import Spacing
from pipeline.core.errors import UserError

Prediction = Literal["epsilon", "v_prediction", "flow"]
"""Quantity that a network predicts at x = a·x_0 + s·ε: ε, a·ε - s·x_0, or the velocity ε - x_0."""


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
    # Only ε-prediction divides by a. The other two are defined at zero terminal SNR as well.
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


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """N steps between N + 1 levels; step j goes from level j to the cleaner level j + 1."""

    prediction: "Prediction"
    """Type of the network's output."""
    timesteps: tuple[float, ...]
    """Timesteps that the network receives at levels 0 … N-1, strictly descending, (N,)."""
    levels: tuple[NoiseLevel, ...]
    """Signal and noise of levels 0 … N, (N + 1,); the last one is the cleanest."""

    def __post_init__(self) -> None:
        if not self.timesteps:
            raise UserError("a schedule needs at least one timestep")
        if len(self.levels) != len(self.timesteps) + 1:
            raise UserError(
                f"{len(self.timesteps)} timesteps lie between {len(self.timesteps) + 1} levels, "
                f"but {len(self.levels)} are given"
            )
        if not all(a > b for a, b in pairwise(self.timesteps)):
            # Equal neighbours are second-order schedulers (PLMS, Heun): no single step joins them.
            raise UserError(f"timesteps must strictly descend, not {list(self.timesteps)}")
        inner, final = self.levels[:-1], self.levels[-1]
        if inner[0].signal < 0 or not all(a.noise > b.noise for a, b in pairwise(inner)):
            raise UserError("levels must become cleaner while the timesteps descend")
        # Spacings that end at t = 0 may have ᾱ_0 as their final ᾱ too: a last step of size zero.
        if not 0 <= final.noise <= inner[-1].noise:
            raise UserError(
                f"the final level has noise {final.noise}; it must lie in [0, {inner[-1].noise}]"
            )

    @classmethod
    def of_alphas(
        cls,
        prediction: "Prediction",
        alphas_cumprod: Tensor,
        timesteps: Sequence[int],
        final_alpha_cumprod: float,
    ) -> "Schedule":
        """Return the levels of ``timesteps`` in a training schedule ``alphas_cumprod`` (T,)."""
        # Python floats, because p and q are differences of nearly equal numbers. In float32 they
        # would lose the digits in which neighbouring levels differ.
        training = alphas_cumprod.tolist()
        for timestep in timesteps:
            if not 0 <= timestep < len(training):
                raise UserError(
                    f"timestep {timestep} lies outside the training schedule 0 … "
                    f"{len(training) - 1}: use fewer steps"
                )
        if not 0 <= final_alpha_cumprod <= 1:
            raise UserError(f"the final ᾱ must lie in [0, 1], not {final_alpha_cumprod}")
        alphas = [*(training[t] for t in timesteps), final_alpha_cumprod]
        return cls(
            prediction=prediction,
            timesteps=tuple(timesteps),
            levels=tuple(map(NoiseLevel.of_alpha, alphas)),
        )

    @classmethod
    def of_sigmas(cls, timesteps: Sequence[float], sigmas: Sequence[float]) -> "Schedule":
        """Return the levels of a flow at ``sigmas`` (N + 1,), the last one without noise."""
        return cls(
            prediction="flow",
            timesteps=tuple(timesteps),
            levels=tuple(map(NoiseLevel.of_sigma, sigmas)),
        )

    def step_levels(self, step: int) -> tuple[NoiseLevel, NoiseLevel]:
        """Return the level that step ``step`` leaves and the cleaner one that it reaches."""
        return self.levels[step], self.levels[step + 1]

    def denoise(self, latents: Tensor, output: Tensor, step: int) -> Tensor:
        """Take denoising step ``step`` with the network's output at its noisier level."""
        return denoise_step(latents, output, *self.step_levels(step), self.prediction)

    def invert(self, latents: Tensor, output: Tensor, step: int) -> Tensor:
        """Invert step ``step``: go from its cleaner level to its noisier one."""
        noisy, clean = self.step_levels(step)
        return invert_step(latents, output, clean, noisy, self.prediction)

    def __len__(self) -> int:
        return len(self.timesteps)


def spaced_timesteps(
    num_train_timesteps: int, num_inference_steps: int, spacing: Spacing, offset: int = 0
) -> list[int]:
    """Return N descending timesteps out of T, as diffusers' ``DDIMScheduler`` spaces them.

    Table 2 of "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891.
    ``offset`` (``steps_offset``) applies only to ``leading``.
    """
    N, T = num_inference_steps, num_train_timesteps
    if not 1 <= N <= T:
        raise UserError(f"num_inference_steps must lie in 1 … {T}, not {N}")
    # A timestep that is off by one is another noise level and therefore another golden noise.
    if spacing == "leading":
        return [step * (T // N) + offset for step in reversed(range(N))]
    # NumPy's rounding (half to even) and arange are part of what diffusers defines.
    if spacing == "trailing":
        return [int(t) - 1 for t in np.round(np.arange(T, 0, -T / N))]
    return [int(t) for t in np.linspace(0, T - 1, N).round()[::-1]]
