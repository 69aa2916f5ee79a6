"""Prompt embeddings by the diffusion model's own text encoder. L tokens, D width."""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.models.denoiser import Denoiser

_CACHE_BYTES = 2 * 2**30


class PromptEncoder:
    """Encodes every prompt of a batch, each distinct one once while the cache holds it."""

    def __init__(self, denoiser: Denoiser, cache_bytes: int = _CACHE_BYTES) -> None:
        self._denoiser = denoiser
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        # Kernels differ with the batch. One by one, an embedding does not depend on what was in the
        # cache, so that a resumed run has the same bits; a GPU does not promise them anyway.
        self._together = 1 if denoiser.device.type == "cpu" else 32

    @property
    def shape(self) -> tuple[int, int]:
        """(L, D) of an embedding."""
        tokens, width = self([""]).shape[1:]
        return tokens, width

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """float32 (B, L, D) on the denoiser's device."""
        distinct = list(dict.fromkeys(prompts))
        missing = [prompt for prompt in distinct if prompt not in self._cache]
        known = {prompt: self._cache[prompt] for prompt in distinct if prompt in self._cache}
        for start in range(0, len(missing), self._together):
            some = missing[start : start + self._together]
            known |= dict(zip(some, self._encode(some), strict=True))
        for prompt in distinct:
            self._keep(prompt, known[prompt])
        return torch.stack([known[prompt] for prompt in prompts]).to(self._denoiser.device)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            encoded = self._denoiser.encode_prompts(prompts).conditional
        return encoded.tensors["encoder_hidden_states"].float().cpu()

    def _keep(self, prompt: str, embedding: Tensor) -> None:
        """Remember the embedding, and forget those that were used longest ago."""
        self._cache[prompt] = embedding
        self._cache.move_to_end(prompt)
        # All embeddings of a model have one size.
        while len(self._cache) * embedding.nbytes > self._cache_bytes:
            self._cache.popitem(last=False)
