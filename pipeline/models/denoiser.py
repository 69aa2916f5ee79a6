"""What a text-to-image model must offer to have its noise turned golden.

B batch, ... latent dimensions (C, H, W for images; the code never assumes three of them).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from pipeline.diffusion.schedule import Schedule, Spacing
    from pipeline.models.native_scheduler import NativeScheduler

Prediction = Literal["epsilon", "v_prediction", "flow"]
"""What a network says at a level x = a·x_0 + s·ε: ε, a·ε - s·x_0, or the velocity ε - x_0."""

Guidance = Literal["classifier_free", "embedded"]
"""How a model is guided: by a second prediction without the prompt, or by being told the scale."""

GUIDANCE = "guidance"
"""The keyword under which guidance-distilled networks are told their scale."""


@dataclass(frozen=True, kw_only=True)
class Conditioning:
    """What the network is told beside latents and timestep."""

    tensors: dict[str, Tensor]
    """Its keyword arguments, batch first; those within others have paths with dots for names."""

    def copy(self) -> "Conditioning":
        """The same conditioning in memory of its own."""
        return Conditioning(tensors={name: tensor.clone() for name, tensor in self.tensors.items()})

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

    def with_guidance(self, guidance_scale: float) -> "Conditioning":
        """The conditioning of a guidance-distilled network that is told another scale."""
        told = torch.full_like(self.tensors[GUIDANCE], guidance_scale)
        return Conditioning(tensors={**self.tensors, GUIDANCE: told})


@dataclass(frozen=True, kw_only=True)
class EncodedPrompts:
    """Prompts as the network reads them, with and without their text."""

    conditional: Conditioning
    unconditional: Conditioning
    truncated: tuple[bool, ...]
    """For each prompt, whether the text encoder had to cut it."""

    def copy(self) -> "EncodedPrompts":
        """The same prompts in memory of their own."""
        return replace(
            self, conditional=self.conditional.copy(), unconditional=self.unconditional.copy()
        )

    @property
    def embeds(self) -> Tensor:
        """The embeddings (B, L, D) that a noise prompt network reads."""
        return self.conditional.tensors["encoder_hidden_states"]

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
    def guidance(self) -> Guidance:
        """How the model is guided."""
        ...

    @property
    def device(self) -> torch.device:
        """Where the network computes."""
        ...

    def schedule(self, num_inference_steps: int, spacing: "Spacing | None" = None) -> "Schedule":
        """The N-step schedule of the model, in its own spacing or in another.

        Raises ``UserError`` for what the model cannot do.
        """
        ...

    def own_scheduler(self, num_inference_steps: int) -> "NativeScheduler":
        """A run of N steps of the scheduler that the model came with.

        Raises ``ModelError`` for one that draws noise, or evaluates more than once a step.
        """
        ...

    def encode_prompts(self, prompts: Sequence[str]) -> EncodedPrompts:
        """Run the text encoder once for each prompt."""
        ...

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """One forward evaluation: float32 (B, ...) latents to the raw float32 (B, ...) output.

        ``timestep`` is one of a schedule that this denoiser has given.
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Clean latents (B, ...) to images, float32 (B, 3, H, W) in [0, 1]; NaN stays NaN."""
        ...
