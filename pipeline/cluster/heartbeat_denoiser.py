"""Denoiser wrapper that updates the heartbeat of its worker."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.config.proposers import Spacing
from pipeline.diffusion.denoiser import (
    Conditioning,
    Denoiser,
    EncodedPrompts,
    Guidance,
    SamplingScheduler,
)
from pipeline.diffusion.schedule import Schedule


class HeartbeatDenoiser:
    """Wraps a denoiser and counts a heartbeat step before each computation.

    These calls are the longest parts of a unit. Each takes milliseconds to seconds, independent of
    the number of steps, so a worker whose count stands still is hung and not merely slow.
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
        """Guidance of the model."""
        return self._inner.guidance

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return self._inner.device

    def schedule(self, num_inference_steps: int, spacing: Spacing | None = None) -> Schedule:
        """Return the schedule of the model with ``num_inference_steps`` steps."""
        return self._inner.schedule(num_inference_steps, spacing)

    def native_scheduler(self, num_inference_steps: int) -> SamplingScheduler:
        """Return a run of the native scheduler of the model."""
        return self._inner.native_scheduler(num_inference_steps)

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        self._heartbeat.tick()
        return self._inner.encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Run one forward evaluation."""
        self._heartbeat.tick()
        return self._inner.predict(latents, timestep, conditioning)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents to images."""
        self._heartbeat.tick()
        return self._inner.decode(latents)
