"""A denoiser that shows the heartbeat of its worker."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.diffusion.schedule import Schedule, Spacing
from pipeline.models.denoiser import Conditioning, Denoiser, EncodedPrompts, Guidance
from pipeline.models.native_scheduler import NativeScheduler


class HeartbeatDenoiser:
    """Another denoiser, with a beat before each of its computations.

    These are the longest stretches of a unit, from milliseconds to seconds, whatever the number
    of steps and the size of a batch.
    """

    def __init__(self, inner: Denoiser, heartbeat: Heartbeat) -> None:
        self._inner = inner
        self._heartbeat = heartbeat

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch dimension."""
        return self._inner.latent_shape

    @property
    def guidance(self) -> Guidance:
        """How the model is guided."""
        return self._inner.guidance

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._inner.device

    def schedule(self, num_inference_steps: int, spacing: Spacing | None = None) -> Schedule:
        """The N-step schedule of the model."""
        return self._inner.schedule(num_inference_steps, spacing)

    def own_scheduler(self, num_inference_steps: int) -> NativeScheduler:
        """A run of the scheduler that the model came with."""
        return self._inner.own_scheduler(num_inference_steps)

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        self._heartbeat.tick()
        return self._inner.encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """One forward evaluation."""
        self._heartbeat.tick()
        return self._inner.predict(latents, timestep, conditioning)

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents to images."""
        self._heartbeat.tick()
        return self._inner.decode(latents)
