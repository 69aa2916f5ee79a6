"""The text encoders of a model, without its network and its decoder.

Training of a noise prompt network needs only these. The other components take most of the memory.
B batch, L tokens, D width of an embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.models.diffusers.call_options import given, refuse_options
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.diffusers.traced_pipeline import TracedPipeline

_NOT_NEEDED = ("unet", "transformer", "vae")


class TextEncoder:
    """Encodes prompts to what the network of the model receives as ``encoder_hidden_states``."""

    def __init__(
        self,
        pipe: Any,
        where: str,
        device: torch.device,
        *,
        max_sequence_length: int | None = None,
        clip_skip: int | None = None,
    ) -> None:
        """Remove network and decoder from ``pipe`` and move the rest to ``device``.

        ``where`` names the model in errors. The options are passed to the pipeline. Raises
        ``ModelError`` for an option that it does not accept.
        """
        family = FAMILIES[type(pipe).__name__]
        options = given(max_sequence_length=max_sequence_length, clip_skip=clip_skip)
        refuse_options(family, options, where)
        family.prepare(pipe)
        for name in _NOT_NEEDED:
            if hasattr(pipe, name):
                setattr(pipe, name, None)
        pipe.to(device)
        self.device = device
        self._traced = TracedPipeline(pipe=pipe, family=family, options={}, text_options=options)

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Return the embeddings (B, L, D) of prompts."""
        # One prompt at a time, so an embedding does not depend on the rest of the batch.
        encoded = (self._traced.encode(prompt, negative=False) for prompt in prompts)
        return torch.cat([inputs["prompt_embeds"] for inputs in encoded])
