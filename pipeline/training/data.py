"""Data of a training run: the sealed plans, batches of their pairs, and prompt embeddings.

B batch, L tokens of D values in a prompt embedding.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from pipeline.diffusion.denoiser import Denoiser
from pipeline.errors import ModelError, UserError
from pipeline.models.model_identity import planned_identity
from pipeline.npnet.latents import Latents, PictureShape, latents_of
from pipeline.npnet.origin import ModelIdentity, TrainingData
from pipeline.reader import NoisePairDataset
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from pipeline.storage.success import SealedManifest, sealed_manifests

SealedPlan = tuple[SealedManifest, Manifest]

Noises = tuple[Latents | None, PictureShape]
"""How noises become pictures, and the pictures' (C, H, W)."""


def sealed_plans(url: str) -> tuple[SealedPlan, ...]:
    """All plans of a sealed data set. Raises ``UserError`` if nothing is sealed."""
    return tuple(sealed_manifests(open_store(url)))


def training_data(plans: Sequence[SealedPlan]) -> tuple[TrainingData, ...]:
    """What a network records of its data."""
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
    """Raise ``ModelError`` if some pairs were made by another model than ``model``."""
    for _, manifest in plans:
        made_by = planned_identity(manifest.plan.settings.model)
        if made_by.settings != model.settings:
            raise ModelError(
                f"{url}: the pairs of plan {manifest.plan_id} were made by {made_by.name!r} (model "
                f"{made_by.digest}), and this is {model}. Give the same [model] as the build, with "
                "--config, or --allow-other-model to train for this one all the same"
            )


def latents_in(url: str, plans: Sequence[SealedPlan]) -> Noises:
    """The pictures that all noises of a data set stand for. Raises ``UserError``."""
    found = {}
    for _, manifest in plans:
        model = manifest.plan.settings.model
        size = (model.height, model.width)
        found[latents_of(tuple(manifest.latent_shape), *size)] = manifest.plan_id
    if len(found) != 1:
        said = "; ".join(f"{shape} in plan {plan_id}" for (_, shape), plan_id in found.items())
        raise UserError(f"{url}: one network reads noises of one shape, and these are {said}")
    return next(iter(found))


_COLUMNS = ("source_noise", "golden_noise", "prompt")


@dataclass(frozen=True, kw_only=True)
class PairBatch:
    """Some pairs."""

    source_noise: Tensor
    """float32 (B, ...), as it is stored."""
    golden_noise: Tensor
    """float32 (B, ...)."""
    prompts: list[str]


class PairStream:
    """The training pairs in a shuffled order, epoch after epoch, for one of several processes.

    Every process takes its part of each batch, so that a batch holds the same pairs whatever the
    number of processes. What is left of an epoch after its last full batch is left out.
    """

    def __init__(
        self,
        url: str,
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
            url,
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
                f"{url}: {len(self)} pairs in split {split!r} with the gains asked for, fewer "
                f"than a batch of {batch_size}"
            )

    def __len__(self) -> int:
        """Pairs that are trained on."""
        return self._pairs.num_samples

    def __iter__(self) -> Iterator[PairBatch]:
        """Batches from where the stream stands; it never ends."""
        while True:
            yield from map(_batch, self._pairs)
            self._pairs.set_epoch(self._pairs.epoch + 1)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands: the same for all processes."""
        return self._pairs.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from where another stream stood. Raises ``UserError`` for that of other pairs."""
        self._pairs.load_state_dict(state)


class EveryPair:
    """Every pair of a split once, in the order of the data set; the last batch may be smaller.

    What is sealed when it is made is read, each time it is iterated.
    """

    def __init__(self, url: str, split: str, batch_size: int) -> None:
        self._pairs = NoisePairDataset(
            url,
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
