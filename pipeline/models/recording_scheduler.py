"""A scheduler that sets timesteps as another one does, and steps where it is told to."""

import copy
from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor


class RecordingScheduler:
    """Stands in for a pipeline's scheduler while its call is traced.

    After step j the call goes on with ``visits[j + 1]``, or with the latents that it had. What the
    call gave to each step, guidance included, is in ``outputs``.
    """

    order = 1
    init_noise_sigma = 1.0

    def __init__(
        self,
        scheduler: Any,
        *,
        timesteps: Sequence[float] | None = None,
        visits: Sequence[Tensor] = (),
    ) -> None:
        """Stand in for ``scheduler``, which stays as it is, if need be at other ``timesteps``."""
        self.inner = copy.deepcopy(scheduler)
        """What sets the timesteps."""
        self._visits = visits
        self.outputs: list[Tensor] = []

        # Pipelines look at the signature, to see whether sigmas may be given.
        @wraps(self.inner.set_timesteps)
        def set_timesteps(*args: Any, **options: Any) -> None:
            self.inner.set_timesteps(*args, **options)
            if timesteps is not None:
                own = self.inner.timesteps
                wanted = torch.tensor(timesteps, dtype=own.dtype, device=own.device)
                self.inner.timesteps = wanted
                self.inner.num_inference_steps = len(timesteps)

        self.set_timesteps = set_timesteps

    def __getattr__(self, name: str) -> Any:
        # Reached for what is not set above; while copying, before ``inner`` is there, too.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """The latents as they are: the probe's levels are in the scale of the training."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any
    ) -> tuple[Tensor]:
        """Note what the network said and go to where it was told to go next."""
        self.outputs.append(model_output)
        following = len(self.outputs)
        return (self._visits[following] if following < len(self._visits) else sample,)
