"""The demo's models, with a fault or a count at one of their calls."""

import sys
from collections.abc import Sequence

from torch import Tensor

from pipeline.diffusion.denoiser import (
    Conditioning,
    Denoiser,
    EncodedPrompts,
)
from pipeline.diffusion.wrapped_denoiser import WrappedDenoiser as Wrapped
from pipeline.models.reward import Reward


class WrappedDenoiser(Wrapped):
    """A denoiser that counts the calls that it passes to another one."""

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner)
        self.encoded: list[str] = []
        self.rows_predicted = 0

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        self.encoded += prompts
        return super().encode_prompts(prompts)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        self.rows_predicted += len(latents)
        return super().predict(latents, timestep, conditioning)


class BadPrediction(WrappedDenoiser):
    """Predicts ``value`` for one prompt, from some call on, and perhaps before another."""

    def __init__(
        self,
        inner: Denoiser,
        prompt: str,
        value: float,
        *,
        from_call: int = 0,
        to_call: int | None = None,
    ) -> None:
        super().__init__(inner)
        conditioning = inner.encode_prompts([prompt]).conditional
        self._embeds = conditioning.tensors["encoder_hidden_states"]
        self._value = value
        self._calls = range(from_call, sys.maxsize if to_call is None else to_call)
        self._call = -1

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        output = super().predict(latents, timestep, conditioning).clone()
        self._call += 1
        if self._call in self._calls:
            embeds = conditioning.tensors["encoder_hidden_states"]
            output[(embeds == self._embeds).flatten(1).all(dim=1)] = self._value
        return output


class BadDecoder(WrappedDenoiser):
    """Decodes one row of each batch to NaN."""

    def __init__(self, inner: Denoiser, row: int) -> None:
        super().__init__(inner)
        self._row = row

    def decode(self, latents: Tensor) -> Tensor:
        images = super().decode(latents).clone()
        images[self._row, :, 0, 0] = float("nan")
        return images


class BadReward:
    """Gives one prompt a score that is none."""

    def __init__(self, inner: Reward, prompt: str, value: float) -> None:
        self._inner, self._prompt, self._value = inner, prompt, value

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        scores = self._inner.score(prompts, images).clone()
        for row, prompt in enumerate(prompts):
            if prompt == self._prompt:
                scores[row] = self._value
        return scores
