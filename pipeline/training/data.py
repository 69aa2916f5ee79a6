"""Data of a training run: the sealed plans, batches of their pairs, and prompt embeddings.

B batch, L tokens of D values in a prompt embedding.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from pipeline.core.errors import ModelError, UserError
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.model_identity import planned_identity
from pipeline.npnet.latents import Latents, PictureShape, latents_of
from pipeline.npnet.origin import ModelIdentity, TrainingData
from pipeline.reader import NoisePairDataset, Source
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from pipeline.storage.success import SealedManifest, sealed_plans
from pipeline.storage.versions import choose_versions

SealedPlan = tuple[SealedManifest, Manifest]

Noises = tuple[Latents | None, PictureShape]
"""The map from noises to pictures, and the shape (C, H, W) of the pictures."""


def read_plans(source: Source) -> tuple[SealedPlan, ...]:
    """Return all plans of a data set, at the version of ``source``.

    Raises ``UserError`` if nothing is sealed, or not this version.
    """
    store = open_store(source.url, unsigned=source.unsigned)
    return tuple(choose_versions(store, sealed_plans(store), source.version))


def training_data(plans: Sequence[SealedPlan]) -> tuple[TrainingData, ...]:
    """Return the record of the data that a network was trained on."""
    return tuple(
        TrainingData(
            plan_id=manifest.plan_id,
            version=manifest.version,
            manifest_sha256=sealed.sha256,
            model_digest=planned_identity(manifest.plan.settings.model).digest,
        )
        for sealed, manifest in plans
    )


def refuse_pairs_of_other_model(
    url: str, plans: Sequence[SealedPlan], model: ModelIdentity
) -> None:
    """Raise ``ModelError`` if pairs were made by a model other than ``model``."""
    for _, manifest in plans:
        made_by = planned_identity(manifest.plan.settings.model)
        if made_by.settings != model.settings:
            raise ModelError(
                f"{url}: the pairs of plan {manifest.plan_id} were made by {made_by.name!r} (model "
                f"{made_by.digest}), and this is {model}. Give the same [model] as the build, with "
                "--config, or --allow-other-model to train for this model anyway"
            )


def latents_in(url: str, plans: Sequence[SealedPlan]) -> Noises:
    """Return the map from noises to pictures of a data set.

    Raises ``UserError`` if its plans have noises of several shapes.
    """
    found = {}
    for _, manifest in plans:
        model = manifest.plan.settings.model
        size = (model.height, model.width)
        found[latents_of(tuple(manifest.latent_shape), *size)] = manifest.plan_id
    if len(found) != 1:
        shapes = "; ".join(f"{shape} in plan {plan_id}" for (_, shape), plan_id in found.items())
        raise UserError(f"{url}: a network reads noises of one shape, and these are {shapes}")
    return next(iter(found))


_COLUMNS = ("source_noise", "golden_noise", "prompt")


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """A batch of pairs."""

    source_noise: Tensor
    """float32 (B, ...), in the stored shape."""
    golden_noise: Tensor
    """float32 (B, ...)."""
    prompts: list[str]


class PairStream:
    """Endless stream of shuffled batches of training pairs, for one of several processes.

    Every process receives a part of each batch, so a batch has the same pairs for any number of
    processes. Each epoch has another order. An incomplete batch at its end is dropped.
    """

    def __init__(
        self,
        source: Source,
        *,
        split: str,
        batch_size: int,
        seed: int,
        min_gain: Mapping[str, float],
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size % world_size:
            raise UserError(f"{world_size} processes cannot share batches of {batch_size} equally")
        self._pairs = NoisePairDataset(
            [source],
            split,
            seed=seed,
            batch_size=batch_size // world_size,
            drop_last=True,
            rank=rank,
            world_size=world_size,
            min_gain=min_gain,
            dtype=torch.float32,
            columns=_COLUMNS,
        )
        if not len(self._pairs):
            raise UserError(
                f"{source.url}: {len(self)} pairs in split {split!r} with the requested gains, "
                f"fewer than a batch of {batch_size}"
            )

    def __len__(self) -> int:
        """Return the number of training pairs."""
        return self._pairs.num_samples

    def __iter__(self) -> Iterator[PairBatch]:
        """Yield batches from the current position, without end."""
        while True:
            yield from map(_batch, self._pairs)
            self._pairs.set_epoch(self._pairs.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the position, which is the same for all processes."""
        return self._pairs.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a position. Raises ``UserError`` for a position in other pairs."""
        self._pairs.load_state_dict(state)


class EveryPair:
    """Batches of every pair of a split, in the order of the data set; the last may be smaller.

    Each iteration reads the manifests that were current when the object was made.
    """

    def __init__(self, source: Source, split: str, batch_size: int) -> None:
        self._pairs = NoisePairDataset(
            [source],
            split,
            batch_size=batch_size,
            rank=0,
            world_size=1,
            dtype=torch.float32,
            columns=_COLUMNS,
        )

    def __iter__(self) -> Iterator[PairBatch]:
        return map(_batch, self._pairs)


def _batch(columns: Mapping[str, Any]) -> PairBatch:
    return PairBatch(
        source_noise=columns["source_noise"],
        golden_noise=columns["golden_noise"],
        prompts=columns["prompt"],
    )


_CACHE_BYTES = 2 * 2**30


class PromptEncoder:
    """Encodes prompts with the text encoder of the diffusion model, and caches the embeddings."""

    def __init__(
        self,
        embed: Callable[[Sequence[str]], Tensor],
        device: torch.device,
        cache_bytes: int = _CACHE_BYTES,
    ) -> None:
        """``embed`` returns embeddings (B, L, D) of prompts, on ``device``."""
        self._embed = embed
        self._device = device
        self._cache_bytes = cache_bytes
        self._cache: OrderedDict[str, Tensor] = OrderedDict()
        # Kernels give other bits for other batch sizes. One at a time, an embedding does not depend
        # on the content of the cache, so a resumed run gets the same bits. A GPU does not promise
        # the same bits, so larger batches lose nothing there.
        self._batch_size = 1 if device.type == "cpu" else 32

    @classmethod
    def of(cls, denoiser: Denoiser, cache_bytes: int = _CACHE_BYTES) -> Self:
        """Return the encoder of a complete model."""
        return cls(
            lambda texts: denoiser.encode_prompts(texts).embeds, denoiser.device, cache_bytes
        )

    @property
    def shape(self) -> tuple[int, int]:
        """Shape (L, D) of an embedding."""
        tokens, width = self([""]).shape[1:]
        return tokens, width

    def __call__(self, prompts: Sequence[str]) -> Tensor:
        """Return embeddings, float32 (B, L, D), on the text encoder's device."""
        distinct = list(dict.fromkeys(prompts))
        missing = [prompt for prompt in distinct if prompt not in self._cache]
        known = {prompt: self._cache[prompt] for prompt in distinct if prompt in self._cache}
        for start in range(0, len(missing), self._batch_size):
            batch = missing[start : start + self._batch_size]
            known |= dict(zip(batch, self._encode(batch), strict=True))
        for prompt in distinct:
            self._keep(prompt, known[prompt])
        return torch.stack([known[prompt] for prompt in prompts]).to(self._device)

    def _encode(self, prompts: Sequence[str]) -> Tensor:
        with torch.no_grad():
            return self._embed(prompts).float().cpu()

    def _keep(self, prompt: str, embedding: Tensor) -> None:
        """Cache the embedding, and evict the least recently used ones."""
        self._cache[prompt] = embedding
        self._cache.move_to_end(prompt)
        # All embeddings of a model have one size.
        while len(self._cache) * embedding.nbytes > self._cache_bytes:
            self._cache.popitem(last=False)
