"""Denoiser wrapper that evaluates the first prediction of a batch once.

Re-denoising starts as the sampling of the source image does: from the source noise, and if both
have the same number of steps, at the same level. With guidance in both, the network receives the
same rows, because its two outputs do not depend on the guidance scale. B batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.diffusion.denoiser import Conditioning, Denoiser
from pipeline.diffusion.wrapped_denoiser import WrappedDenoiser


@dataclass(frozen=True, kw_only=True)
class _Prediction:
    latents: Tensor
    timestep: float
    conditioning: Conditioning
    output: Tensor

    def has_inputs(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> bool:
        """Return True if all inputs have the same bits as those of this prediction."""
        mine, others = self.conditioning.tensors, conditioning.tensors
        return (
            timestep == self.timestep
            and _same_bits(latents, self.latents)
            and others.keys() == mine.keys()
            and all(_same_bits(others[name], tensor) for name, tensor in mine.items())
        )


class FirstPredictionDenoiser(WrappedDenoiser):
    """Keeps the first prediction of a batch and returns it again for the same inputs.

    The inputs must be equal bit for bit and in the same batch, so sharing changes no byte of a
    result. Use one instance per batch. It holds the latents, the embeddings and the output of one
    prediction, which is two latents and one row of embeddings for each row that the network
    received.
    """

    def __init__(self, inner: Denoiser) -> None:
        super().__init__(inner)
        self._first: _Prediction | None = None

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Evaluate the network once, unless these are the inputs of the first prediction."""
        first = self._first
        if first is not None and first.has_inputs(latents, timestep, conditioning):
            # A copy, because a custom proposer may write into what it receives.
            return first.output.clone()
        output = self.inner.predict(latents, timestep, conditioning)
        if first is None:
            # The inputs are not copied: they come from the sampling of source images, which does
            # not write into them.
            self._first = _Prediction(
                latents=latents,
                timestep=timestep,
                conditioning=conditioning,
                output=output.clone(),
            )
        return output


def _same_bits(one: Tensor, other: Tensor) -> bool:
    # By bits: 0 equals -0 as a number, and NaN does not equal itself.
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and torch.equal(_bytes(one), _bytes(other))
    )


def _bytes(tensor: Tensor) -> Tensor:
    return tensor.reshape(-1).view(torch.uint8)
