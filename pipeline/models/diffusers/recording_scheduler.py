"""A scheduler that records predictions and moves to given latents instead of stepping."""

import copy
from collections.abc import Sequence
from functools import wraps
from typing import Any

import torch
from torch import Tensor


class RecordingScheduler:
    """Replacement for a pipeline's scheduler while its call is traced.

    After step j the call continues with ``visits[j + 1]``, or with unchanged latents if there are
    none. ``outputs`` has the prediction that the call passed to each step, after guidance.
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
        """Replace ``scheduler``, which is not modified. ``timesteps`` replace its timesteps."""
        self.inner = copy.deepcopy(scheduler)
        """Copy of the replaced scheduler, which sets the timesteps."""
        self._visits = visits
        self.outputs: list[Tensor] = []

        # Pipelines inspect the signature to see whether they may pass sigmas.
        @wraps(self.inner.set_timesteps)
        def set_timesteps(*args: Any, **options: Any) -> None:
            self.inner.set_timesteps(*args, **options)
            if timesteps is not None:
                before = self.inner.timesteps
                wanted = torch.tensor(timesteps, dtype=before.dtype, device=before.device)
                self.inner.timesteps = wanted
                self.inner.num_inference_steps = len(timesteps)

        self.set_timesteps = set_timesteps

    def __getattr__(self, name: str) -> Any:
        # Called for attributes that are not set above. A copy has no ``inner`` yet while it is
        # made, so looking it up there would recurse forever.
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)

    def scale_model_input(self, sample: Tensor, timestep: Any = None) -> Tensor:
        """Return the latents unchanged. They are already in the scale of the training."""
        return sample

    def step(
        self, model_output: Tensor, timestep: Any, sample: Tensor, **options: Any
    ) -> tuple[Tensor]:
        """Record the prediction and return the next latents of ``visits``."""
        self.outputs.append(model_output)
        following = len(self.outputs)
        return (self._visits[following] if following < len(self._visits) else sample,)
