"""A model's text encoders alone, without its network and its decoder.

Training of a noise prompt network needs no more. The rest of a model is most of its memory.
B batch, L tokens, D width of an embedding.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from pipeline.models.families import FAMILIES
from pipeline.models.watched_pipeline import WatchedPipeline

_NOT_NEEDED = ("unet", "transformer", "vae")


class TextEncoder:
    """Encodes prompts to what the network of the model receives as ``encoder_hidden_states``."""

    def __init__(self, pipe: Any, device: torch.device) -> None:
        """Drop network and decoder of ``pipe`` and move the rest to ``device``."""
        for name in _NOT_NEEDED:
            if hasattr(pipe, name):
                setattr(pipe, name, None)
        pipe.to(device)
        self.device = device
        self._watched = WatchedPipeline(pipe=pipe, family=FAMILIES[type(pipe).__name__], options={})

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """Embeddings (B, L, D), one prompt at a time: each depends on its own prompt alone."""
        encoded = (self._watched.encode(prompt, negative=False) for prompt in prompts)
        return torch.cat([inputs["prompt_embeds"] for inputs in encoded])
