"""Denoiser wrapper that updates the heartbeat of its worker."""

from collections.abc import Sequence

from torch import Tensor

from pipeline.cluster.heartbeat import Heartbeat
from pipeline.diffusion.denoiser import Conditioning, Denoiser, EncodedPrompts
from pipeline.diffusion.wrapped_denoiser import WrappedDenoiser


class HeartbeatDenoiser(WrappedDenoiser):
    """Wraps a denoiser and counts a heartbeat step before each computation.

    These calls are the longest parts of a unit. Each takes milliseconds to seconds, independent of
    the number of steps, so a worker whose count stands still is hung and not merely slow.
    """

    def __init__(self, inner: Denoiser, heartbeat: Heartbeat) -> None:
        super().__init__(inner)
        self._heartbeat = heartbeat

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        self._heartbeat.tick()
        return self.inner.encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Run one forward evaluation."""
        self._heartbeat.tick()
        return self.inner.predict(latents, timestep, conditioning)

    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents to images."""
        self._heartbeat.tick()
        return self.inner.decode(latents)
