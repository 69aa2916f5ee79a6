"""A model's own scheduler as diffusers steps it: DPM-Solver++, UniPC, Euler.

For sampling alone. Re-denoising takes steps that can be undone (``diffusion.step``); a multistep
solver's cannot, since a step depends on those before. B batch, N num_inference_steps.
"""

import copy
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from pipeline.errors import ModelError

_STOCHASTIC = ("Ancestral", "LCM", "SDE", "TCD")
"""Parts of the names of schedulers that draw noise at each step."""


class NativeScheduler:
    """One run of a scheduler whose timesteps are set: it remembers earlier steps."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = copy.deepcopy(scheduler)
        # DDIM and DDPM look each timestep up and have no index.
        if hasattr(self._scheduler, "set_begin_index"):
            self._scheduler.set_begin_index(0)

    @property
    def timesteps(self) -> Sequence[float]:
        """What the network is told, descending, (N,)."""
        return [float(t) for t in self._scheduler.timesteps]

    def begin(self, noise: Tensor) -> Tensor:
        """Initial latents, float32 (B, ...), in the scheduler's own scale."""
        # A flow begins at its noise.
        scale: float = getattr(self._scheduler, "init_noise_sigma", 1.0)
        return noise * scale

    def model_input(self, latents: Tensor, step: int) -> Tensor:
        """Latents in the scale of the network."""
        if not hasattr(self._scheduler, "scale_model_input"):
            return latents
        scaled: Tensor = self._scheduler.scale_model_input(latents, self._scheduler.timesteps[step])
        return scaled

    def denoise(self, latents: Tensor, output: Tensor, step: int) -> Tensor:
        """Step ``step``; all steps are taken in order, each once."""
        timestep = self._scheduler.timesteps[step]
        stepped: Tensor = self._scheduler.step(output, timestep, latents, return_dict=False)[0]
        return stepped


def refuse_other_schedulers(scheduler: Any, num_inference_steps: int, where: str) -> None:
    """Refuse a scheduler, its timesteps set, whose image is no function of its initial noise alone,
    or which takes more evaluations than steps. Raises ``ModelError``.
    """
    name = type(scheduler).__name__
    config = scheduler.config
    stochastic = (
        any(part in name for part in _STOCHASTIC)
        or str(config.get("algorithm_type", "")).startswith("sde")
        or config.get("stochastic_sampling")
        or name == "DDPMScheduler"
    )
    if stochastic:
        raise ModelError(
            f"{where}: {name} draws noise at each step, so that an image would not follow from its "
            "initial noise; set scheduler = 'ddim' in [sampling]"
        )
    if len(scheduler.timesteps) != num_inference_steps:
        raise ModelError(
            f"{where}: {name} evaluates the network {len(scheduler.timesteps)} times in "
            f"{num_inference_steps} steps; set scheduler = 'ddim' in [sampling]"
        )
