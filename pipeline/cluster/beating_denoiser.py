"""A denoiser that shows the pulse of its worker."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.cluster.pulse import Pulse
from pipeline.models.denoiser import Conditioning, Denoiser, EncodedPrompts, Prediction


class BeatingDenoiser:
    """Another denoiser, with a beat before each of its computations.

    These are the longest stretches of a unit, from milliseconds to seconds, whatever the number
    of steps and the size of a batch.
    """

    def __init__(self, inner: Denoiser, pulse: Pulse) -> None:
        self._inner = inner
        self._pulse = pulse

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch dimension."""
        return self._inner.latent_shape

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        return self._inner.prediction

    @property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ_t of the training schedule, float64 (T,), on the CPU."""
        return self._inner.alphas_cumprod

    @property
    def final_alpha_cumprod(self) -> float:
        """ᾱ of the cleanest level."""
        return self._inner.final_alpha_cumprod

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        return self._inner.device

    def timesteps(self, num_inference_steps: int) -> list[int]:
        """The descending timesteps of an N-step schedule."""
        return self._inner.timesteps(num_inference_steps)

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        self._pulse.beat()
        return self._inner.encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Tensor:
        """One forward evaluation."""
        self._pulse.beat()
        return self._inner.predict(latents, timestep, conditioning)

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents to images."""
        self._pulse.beat()
        return self._inner.decode(latents)
