"""Base class of denoisers that pass their calls to another one."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.config.proposers import Spacing
from pipeline.diffusion.denoiser import (
    Conditioning,
    Denoiser,
    EncodedPrompts,
    Guidance,
    SamplingScheduler,
)
from pipeline.diffusion.schedule import Schedule


class WrappedDenoiser:
    """Passes every call to ``inner``. Subclasses override the calls that they change."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch dimension."""
        return self.inner.latent_shape

    @property
    def guidance(self) -> Guidance:
        """Guidance of the model."""
        return self.inner.guidance

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self.inner.device

    def schedule(self, num_inference_steps: int, spacing: Spacing | None = None) -> Schedule:
        """Return the schedule of the model with ``num_inference_steps`` steps."""
        return self.inner.schedule(num_inference_steps, spacing)

    def native_scheduler(self, num_inference_steps: int) -> SamplingScheduler:
        """Return a run of the native scheduler of the model."""
        return self.inner.native_scheduler(num_inference_steps)

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Encode each prompt separately and return the batch."""
        return self.inner.encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Evaluate the network once."""
        return self.inner.predict(latents, timestep, conditioning)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents to images."""
        return self.inner.decode(latents)
