"""Prompt embeddings by the diffusion model's own text encoder. L tokens, D width."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser

_CACHE_BYTES = 2 * 2**30


class PromptEncoder:
    """Encodes every prompt of a batch, each distinct one once while the cache holds it."""

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Tensor],
        device: torch.device,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        """``embed`` makes embeddings (B, L, D) of prompts, on ``device``."""
        self._embed = embed
        self._device = device
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        # Kernels differ with the batch. One by one, an embedding does not depend on what was in the
        # cache, so that a resumed run has the same bits; a GPU does not promise them anyway.
        self._together = 1 if device.type == "cpu" else 32

    @classmethod
    def of(cls, denoiser: Denoiser, cache_bytes: int = _CACHE_BYTES) -> Self:
        """The encoder of a model that is loaded whole."""
        return cls(
            lambda texts: denoiser.encode_prompts(texts).embeds, denoiser.device, cache_bytes
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(L, D) of an embedding."""
        tokens, width = self([""]).shape[1:]
        return tokens, width

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """float32 (B, L, D) on the text encoder's device."""
        distinct = list(dict.fromkeys(prompts))
        missing = [prompt for prompt in distinct if prompt not in self._cache]
        known = {prompt: self._cache[prompt] for prompt in distinct if prompt in self._cache}
        for start in range(0, len(missing), self._together):
            some = missing[start : start + self._together]
            known |= dict(zip(some, self._encode(some), strict=True))
        for prompt in distinct:
            self._keep(prompt, known[prompt])
        return torch.stack([known[prompt] for prompt in prompts]).to(self._device)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self._embed(prompts).float().cpu()

    def _keep(self, prompt: str, embedding: Tensor) -> None:
        """Remember the embedding, and forget those that were used longest ago."""
        self._cache[prompt] = embedding
        self._cache.move_to_end(prompt)
        # All embeddings of a model have one size.
        while len(self._cache) * embedding.nbytes > self._cache_bytes:
            self._cache.popitem(last=False)
