"""What a text-to-image model must offer to have its noise turned golden.

B batch, ... latent dimensions (C, H, W for images; the code never assumes three of them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

Prediction = Literal["epsilon", "v_prediction"]


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the network is told beside latents and timestep: its keyword arguments, batch first."""

    tensors: dict[str, Tensor]

    def take(self, rows: Sequence[int]) -> "Conditioning":
        """The conditioning of some rows, in that order; rows may repeat."""
        index = torch.tensor(list(rows), dtype=torch.long)
        return Conditioning(
            tensors={name: tensor[index.to(tensor.device)] for name, tensor in self.tensors.items()}
        )

    def concat(self, other: "Conditioning") -> "Conditioning":
        """Both batches in one, ``self`` first."""
        return Conditioning(
            tensors={name: torch.cat([t, other.tensors[name]]) for name, t in self.tensors.items()}
        )


@dataclass(frozen=True, kw_only=True)
class EncodedPrompts:
    """Prompts as the network reads them, with and without their text."""

    conditional: Conditioning
    unconditional: Conditioning
    truncated: tuple[bool, ...]
    """For each prompt, whether the text encoder had to cut it."""

    def take(self, rows: Sequence[int]) -> "EncodedPrompts":
        """The prompts of some rows, in that order; rows may repeat."""
        return EncodedPrompts(
            conditional=self.conditional.take(rows),
            unconditional=self.unconditional.take(rows),
            truncated=tuple(self.truncated[row] for row in rows),
        )


class Denoiser(Protocol):
    """A diffusion model behind the few calls that the pipeline makes."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch dimension."""
        ...

    @property
    def prediction(self) -> Prediction:
        """What the network predicts."""
        ...

    @property
    def alphas_cumprod(self) -> Tensor:
        """ᾱ_t of the training schedule, float64 (T,), on the CPU."""
        ...

    @property
    def final_alpha_cumprod(self) -> float:
        """ᾱ of the cleanest level, reached by the last step."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        ...

    def timesteps(self, num_inference_steps: int) -> list[int]:
        """The descending timesteps of an N-step schedule, in the model's own spacing."""
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        ...

    def predict(self, latents: Tensor, timestep: int, conditioning: Conditioning) -> Tensor:
        """One forward evaluation: float32 (B, ...) latents to the raw float32 (B, ...) output."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents (B, ...) to images, float32 (B, 3, H, W) in [0, 1]; NaN stays NaN."""
        ...
