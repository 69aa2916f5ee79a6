"""The ``Denoiser`` protocol: the interface of a diffusion model, and the types that it uses.

B batch, ... latent dimensions (C, H, W for images; the code never assumes three of them).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from pipeline.config.model import Guidance as Guidance  # part of the protocol below

if TYPE_CHECKING:
    from pipeline.config.proposers import Spacing
    from pipeline.diffusion.schedule import Schedule

GUIDANCE = "guidance"
"""Keyword argument with which guidance-distilled networks receive their scale."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """Tensors that the network receives beside latents and timestep."""

    tensors: dict[str, Tensor]
    """Maps keyword arguments to tensors, batch first. The key of a nested argument is its path,
    joined by dots."""

    def copy(self) -> "Conditioning":
        """Return a copy that shares no memory with this one."""
        return Conditioning(tensors={name: tensor.clone() for name, tensor in self.tensors.items()})

    def take(self, rows: Sequence[int]) -> "Conditioning":
        """Return the conditioning of ``rows`` in the given order. Rows may repeat."""
        index = torch.tensor(list(rows), dtype=torch.long)
        return Conditioning(
            tensors={name: tensor[index.to(tensor.device)] for name, tensor in self.tensors.items()}
        )

    def concat(self, other: "Conditioning") -> "Conditioning":
        """Return one batch with the rows of ``self`` followed by those of ``other``."""
        return Conditioning(
            tensors={name: torch.cat([t, other.tensors[name]]) for name, t in self.tensors.items()}
        )

    def with_guidance(self, guidance_scale: float) -> "Conditioning":
        """Return a copy with another guidance scale, for guidance-distilled networks."""
        scales = torch.full_like(self.tensors[GUIDANCE], guidance_scale)
        return Conditioning(tensors={**self.tensors, GUIDANCE: scales})


@dataclass(frozen=True, kw_only=True)
class EncodedPrompts:
    """Inputs of the network for a batch of prompts, with and without the prompt."""

    conditional: Conditioning
    """Encoding of the prompts."""
    unconditional: Conditioning
    """Inputs of the prediction without the prompt, one row for each prompt."""
    truncated: tuple[bool, ...]
    """True for each prompt that no text encoder reads completely."""

    def copy(self) -> "EncodedPrompts":
        """Return a copy that shares no tensors with this one."""
        return replace(
            self, conditional=self.conditional.copy(), unconditional=self.unconditional.copy()
        )

    @property
    def embeds(self) -> Tensor:
        """Embeddings (B, L, D) that a noise prompt network receives."""
        return self.conditional.tensors["encoder_hidden_states"]

    def take(self, rows: Sequence[int]) -> "EncodedPrompts":
        """Return the prompts of ``rows`` in the given order. Rows may repeat."""
        return EncodedPrompts(
            conditional=self.conditional.take(rows),
            unconditional=self.unconditional.take(rows),
            truncated=tuple(self.truncated[row] for row in rows),
        )


class SamplingScheduler(Protocol):
    """One run of the scheduler that a model came with. It may remember earlier steps."""

    @property
    def timesteps(self) -> Sequence[float]:
        """Timesteps that the network receives, descending, (N,)."""
        ...

    def begin(self, noise: Tensor) -> Tensor:
        """Return the initial latents, float32 (B, ...), in the scale of the scheduler."""
        ...

    def model_input(self, latents: Tensor, step: int) -> Tensor:
        """Return latents in the scale of the network."""
        ...

    def denoise(self, latents: Tensor, output: Tensor, step: int) -> Tensor:
        """Take step ``step``. Steps are taken in order, each once."""
        ...


class Denoiser(Protocol):
    """Interface of a diffusion model: encode prompts, predict, and decode latents."""

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one latent, without the batch dimension."""
        ...

    @property
    def guidance(self) -> Guidance:
        """Kind of guidance that the model uses."""
        ...

    @property
    def device(self) -> torch.device:
        """Device that the network computes on."""
        ...

    def schedule(self, num_inference_steps: int, spacing: "Spacing | None" = None) -> "Schedule":
        """Return the N-step schedule of the model.

        ``spacing`` replaces the spacing of the model's scheduler. Raises ``UserError`` if the model
        does not support it.
        """
        ...

    def native_scheduler(self, num_inference_steps: int) -> SamplingScheduler:
        """Return a fresh N-step run of the scheduler that belongs to the model.

        Raises ``ModelError`` if it draws noise or evaluates the network more than once a step.
        """
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Encode each prompt separately and return the batch."""
        ...

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Evaluate the network once: float32 (B, ...) latents to the raw float32 (B, ...) output.

        ``timestep`` must be in a schedule that this denoiser has returned.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Decode clean latents (B, ...) to images: float32 (B, 3, H, W) in [0, 1]. NaN is kept."""
        ...
