"""A model's text encoders alone, without its network and its decoder.

Training of a noise prompt network needs no more. The rest of a model is most of its memory.
B batch, L tokens, D width of an embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.models.call_options import given, refuse_options
from pipeline.models.families import FAMILIES
from pipeline.models.traced_pipeline import TracedPipeline

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
        """Drop network and decoder of ``pipe`` and move the rest to ``device``.

        ``where`` names the model in errors. The options are those of the pipeline's call. Raises
        ``ModelError`` for one that it does not take.
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
        """Embeddings (B, L, D), one prompt at a time: each depends on its own prompt alone."""
        encoded = (self._traced.encode(prompt, negative=False) for prompt in prompts)
        return torch.cat([inputs["prompt_embeds"] for inputs in encoded])
