"""Which noise levels a run visits: timesteps and ᾱ, from the noisiest level to the cleanest.

N num_inference_steps, T number of training timesteps.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from torch import Tensor

from pipeline.errors import UserError

if TYPE_CHECKING:
    from pipeline.models.denoiser import Denoiser

Spacing = Literal["leading", "trailing", "linspace"]

_LEADING_OFFSET = 1
"""``steps_offset`` of the Stable Diffusion families: the last timestep is 1 and not 0."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """N steps between N + 1 levels; step j goes from level j to the cleaner level j + 1."""

    timesteps: tuple[int, ...]
    """What the network is told at levels 0 … N-1, strictly descending, (N,)."""
    alphas: tuple[float, ...]
    """ᾱ of levels 0 … N, strictly ascending, (N + 1,); the last one is the final ᾱ."""

    def __post_init__(self) -> None:
        if not self.timesteps:
            raise UserError("a schedule needs at least one timestep")
        if len(self.alphas) != len(self.timesteps) + 1:
            raise UserError(
                f"{len(self.timesteps)} timesteps lie between {len(self.timesteps) + 1} levels, "
                f"but {len(self.alphas)} alphas are given"
            )
        if not all(a > b for a, b in pairwise(self.timesteps)):
            # Equal neighbours are second-order schedulers (PLMS, Heun): no DDIM step joins them.
            raise UserError(f"timesteps must strictly descend, not {list(self.timesteps)}")
        inner = self.alphas[:-1]
        if inner[0] < 0 or not all(a < b for a, b in pairwise(inner)):
            raise UserError("ᾱ must ascend from 0 or more while the timesteps descend")
        # Spacings that end at t = 0 may have ᾱ_0 as their final ᾱ too: a last step of size zero.
        if not inner[-1] <= self.alphas[-1] <= 1:
            raise UserError(f"the final ᾱ must lie in [{inner[-1]}, 1], not {self.alphas[-1]}")

    @classmethod
    def build(
        cls, alphas_cumprod: Tensor, timesteps: Sequence[int], final_alpha_cumprod: float
    ) -> "Schedule":
        """The levels of some ``timesteps`` in a training schedule ``alphas_cumprod`` (T,)."""
        training = alphas_cumprod.tolist()
        for timestep in timesteps:
            if not 0 <= timestep < len(training):
                raise UserError(
                    f"timestep {timestep} lies outside the training schedule 0 … "
                    f"{len(training) - 1}: use fewer steps"
                )
        return cls(
            timesteps=tuple(timesteps),
            alphas=(*(training[t] for t in timesteps), final_alpha_cumprod),
        )

    def step_levels(self, step: int) -> tuple[float, float]:
        """ᾱ that step ``step`` leaves and the cleaner ᾱ that it reaches."""
        return self.alphas[step], self.alphas[step + 1]

    @classmethod
    def of(
        cls, denoiser: "Denoiser", num_inference_steps: int, spacing: Spacing | None = None
    ) -> "Schedule":
        """The N-step schedule of a model, in its own spacing or in another."""
        alphas = denoiser.alphas_cumprod
        timesteps = (
            denoiser.timesteps(num_inference_steps)
            if spacing is None
            else spaced_timesteps(len(alphas), num_inference_steps, spacing, _LEADING_OFFSET)
        )
        return cls.build(alphas, timesteps, denoiser.final_alpha_cumprod)

    def __len__(self) -> int:
        return len(self.timesteps)


def spaced_timesteps(
    num_train_timesteps: int, num_inference_steps: int, spacing: Spacing, offset: int = 0
) -> list[int]:
    """N descending timesteps out of T, as diffusers' ``DDIMScheduler`` spaces them.

    Table 2 of "Common Diffusion Noise Schedules and Sample Steps are Flawed", arXiv 2305.08891.
    ``offset`` (``steps_offset``) counts for ``leading`` only.
    """
    N, T = num_inference_steps, num_train_timesteps
    if not 1 <= N <= T:
        raise UserError(f"num_inference_steps must lie in 1 … {T}, not {N}")
    if spacing == "leading":
        return [step * (T // N) + offset for step in reversed(range(N))]
    # NumPy's rounding (half to even) and arange are part of what diffusers defines.
    if spacing == "trailing":
        return [int(t) - 1 for t in np.round(np.arange(T, 0, -T / N))]
    return [int(t) for t in np.linspace(0, T - 1, N).round()[::-1]]
