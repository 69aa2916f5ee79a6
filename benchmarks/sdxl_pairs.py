"""Write a sealed data set of synthetic pairs, SDXL-sized by default, without models.

    python -m benchmarks.sdxl_pairs URL [--count 4096]

Everything except the pictures is as in a build: shards, ledger (with the rejected candidates),
manifest, ``_SUCCESS``. There are no units and receipts, which readers never use. The source noise
is that of the seed. The golden noise is the source noise rotated by a fixed angle. Scores are
random: nearly two thirds of the candidates are kept.
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from math import prod, sqrt
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch

from pipeline.config.plan import Plan, PlanSettings
from pipeline.core.fingerprint import ALGORITHM_VERSION, fingerprint
from pipeline.core.identity import file_sha256, prompt_id, seeds_for, sha256, split_for
from pipeline.core.prompt_funnel import PromptFunnel
from pipeline.core.records import SCHEMA_VERSION, NoiseStats, Outcome, Split, Status
from pipeline.diffusion.noise import source_noise, stored
from pipeline.publish.compact import put_content_addressed
from pipeline.storage import layout
from pipeline.storage.formats.checked_bytes import ShardInfo, pieces_of
from pipeline.storage.formats.ledger import LedgerInfo, LedgerWriter
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import FunnelCount, Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import WRITERS
from pipeline.storage.success import seal_manifest

SDXL = (4, 128, 128)

REWARDS = ("image_reward", "aesthetic")
"""Names of the rewards: the first selects, the second is only recorded."""

_SEEDS_PER_PROMPT = 4
_COSINE = 0.9
_OBJECTS = ("fox", "lighthouse", "teapot", "tram", "violin", "owl", "bridge", "cactus")
_PLACES = ("in fog", "at night", "in the desert", "under water", "on Mars", "in a library")

_STATS = NoiseStats(
    cosine=_COSINE, relative_change=sqrt(2 - 2 * _COSINE), mean=0.0, std=1.0, kurtosis=0.0
)
"""Noise statistics that follow from the angle; those of each pair differ a little."""


def write_pairs(
    url: str,
    count: int,
    *,
    latent_shape: tuple[int, ...] = SDXL,
    seed: int = 0,
    shard_bytes: int = 128_000_000,
    rows_per_batch: int = 64,
    formats: Sequence[ShardFormat] = ("arrow",),
    store_source: bool = True,
    fractions: dict[Split, float] | None = None,
    rewards: tuple[str, ...] = REWARDS,
) -> Manifest:
    """Seal ``count`` pairs at ``url``, all in the train split unless ``fractions`` is given.

    The same arguments make the same bytes, and another ``seed`` makes another plan.
    """
    outcomes, prompts = _candidates(
        count, seed, rewards, fractions or {Split.TRAIN: 1.0}, latent_shape
    )
    settings = {
        "prompts": {"seeds_per_prompt": _SEEDS_PER_PROMPT, "seed": seed},
        "splits": {},
        "sampling": {"num_inference_steps": 1, "guidance_scale": 1.0},
        "gate": {},
        "units": {"size": _SEEDS_PER_PROMPT},
        "model": {"name": "synthetic"},
        "rewards": [
            {"name": name, "kind": "custom", "select": name == rewards[0]} for name in rewards
        ],
        "output": {
            "formats": list(formats),
            "shard_bytes": shard_bytes,
            "rows_per_batch": rows_per_batch,
            "source_noise": store_source,
        },
        "synthetic": {"latent_shape": list(latent_shape), "cosine": _COSINE},
    }
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        algorithm_version=ALGORITHM_VERSION,
        plan_id="",
        settings=PlanSettings.read(settings),
        prompts_sha256=sha256("\n".join(prompts).encode()),
        num_prompts=len(set(prompts)),
        prompt_funnel=PromptFunnel(sources=()),
        num_candidates=len(outcomes),
        num_units=len(set(prompts)),
    )
    plan = plan.model_copy(update={"plan_id": plan.identity()})
    writer = _Writer(open_store(url), plan, latent_shape)
    funnel = FunnelCount(plan)
    funnel.add(outcomes)
    manifest = Manifest(
        schema_version=SCHEMA_VERSION,
        plan_id=plan.plan_id,
        version=1,
        selection=plan.margins,
        plan=plan,
        fingerprints=[fingerprint(torch.device("cpu"))],
        latent_shape=list(latent_shape),
        shards={split: writer.shards(outcomes, prompts, split) for split in Split},
        funnel=funnel.total(),
        ledger=writer.ledger(outcomes, prompts),
    )
    seal_manifest(writer.store, manifest)
    return manifest


def _candidates(
    count: int,
    seed: int,
    rewards: Sequence[str],
    fractions: dict[Split, float],
    latent_shape: tuple[int, ...],
) -> tuple[list[Outcome], list[str]]:
    """Yield candidates with their prompts until the given number is kept."""
    generator = np.random.default_rng(seed)
    shares = {split: fractions.get(split, 0.0) for split in Split}
    num_bytes = 2 * prod(latent_shape) * np.dtype(np.float16).itemsize
    outcomes: list[Outcome] = []
    prompts: list[str] = []
    while count > 0:
        number = len(outcomes) // _SEEDS_PER_PROMPT
        place = _PLACES[number // len(_OBJECTS) % len(_PLACES)]
        prompt = f"a {_OBJECTS[number % len(_OBJECTS)]} {place}, number {number}"
        name = prompt_id(prompt)
        for noise_seed in seeds_for(seed, name, _SEEDS_PER_PROMPT):
            source = generator.normal(0.0, 1.0, len(rewards))
            golden = source + generator.normal(0.3, 1.0, len(rewards))
            kept = bool(golden[0] > source[0]) and count > 0
            count -= kept
            outcomes.append(
                Outcome(
                    candidate=len(outcomes),
                    sample_id=f"{name}-{noise_seed:08x}",
                    prompt_id=name,
                    split=split_for(name, shares),
                    seed=noise_seed,
                    status=Status.KEPT if kept else Status.REJECTED,
                    reason=None if kept else f"reward:{rewards[0]}",
                    truncated=False,
                    source_rewards=dict(zip(rewards, source.tolist(), strict=True)),
                    golden_rewards=dict(zip(rewards, golden.tolist(), strict=True)),
                    noise_stats=_STATS,
                    num_bytes=num_bytes + len(prompt.encode()) if kept else 0,
                )
            )
            prompts.append(prompt)
    return outcomes, prompts


class _Writer:
    """Puts the objects of one plan into a store."""

    def __init__(self, store: ObjectStore, plan: Plan, latent_shape: tuple[int, ...]) -> None:
        self.store = store
        self._plan = plan
        self._shape = latent_shape
        self._output = plan.settings.output
        self._schema = PairSchema(latent_shape=latent_shape, reward_names=(*plan.reward_names,))
        # One table for all pairs: drawing new noise would take most of the time.
        table = torch.Generator().manual_seed(plan.settings.prompts.seed)
        self._table = torch.randn(2 * prod(latent_shape), generator=table)

    def shards(
        self, outcomes: Sequence[Outcome], prompts: Sequence[str], split: Split
    ) -> dict[ShardFormat, list[ShardInfo]]:
        """Write a split in all formats."""
        kept = [
            (outcome, prompt)
            for outcome, prompt in zip(outcomes, prompts, strict=True)
            if outcome.status is Status.KEPT and outcome.split is split
        ]
        noises = 2 if self._output.source_noise else 1
        size = max(1, self._output.shard_bytes // (noises * 2 * prod(self._shape)))
        parts = [kept[start : start + size] for start in range(0, len(kept), size)]
        return {
            shard_format: [
                self._shard(part, split, index, shard_format) for index, part in enumerate(parts)
            ]
            for shard_format in self._output.formats
        }

    def ledger(self, outcomes: Sequence[Outcome], prompts: Sequence[str]) -> LedgerInfo:
        """Write the ledger."""
        with tempfile.TemporaryDirectory(prefix="npd-pairs-") as folder:
            path = Path(folder) / "ledger"
            with LedgerWriter(path, self._plan.reward_names) as ledger:
                ledger.add(outcomes, prompts)
            digest = file_sha256(path)
            key = layout.ledger_key(self._plan.plan_id, 1, digest)
            put_content_addressed(self.store, key, path)
            return LedgerInfo(
                key=key, sha256=digest, num_rows=ledger.num_rows, num_bytes=path.stat().st_size
            )

    def _shard(
        self,
        part: Sequence[tuple[Outcome, str]],
        split: Split,
        index: int,
        shard_format: ShardFormat,
    ) -> ShardInfo:
        with tempfile.TemporaryDirectory(prefix="npd-pairs-") as folder:
            path = Path(folder) / "shard"
            rows_per_batch = self._output.rows_per_batch
            WRITERS[shard_format](path, self._batches(part, rows_per_batch), rows_per_batch)
            digest = file_sha256(path)
            key = layout.shard_key(self._plan.plan_id, 1, split, index, digest, shard_format)
            put_content_addressed(self.store, key, path)
            with path.open("rb") as file:
                pieces = pieces_of(file)
            return ShardInfo(
                key=key,
                sha256=digest,
                num_samples=len(part),
                num_bytes=path.stat().st_size,
                pieces=pieces,
            )

    def _batches(self, part: Sequence[tuple[Outcome, str]], rows: int) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(part), rows):
            yield self._schema.to_batch([self._pair(*row) for row in part[start : start + rows]])

    def _pair(self, outcome: Outcome, prompt: str) -> NoisePair:
        source = stored(source_noise(outcome.seed, self._shape))
        size = prod(self._shape)
        other = self._table[outcome.seed % size :][:size].reshape(self._shape)
        golden = stored(_COSINE * source.float() + sqrt(1 - _COSINE**2) * other)
        return NoisePair(
            sample_id=outcome.sample_id,
            prompt=prompt,
            prompt_id=outcome.prompt_id,
            seed=outcome.seed,
            source_noise=source.numpy() if self._output.source_noise else None,
            golden_noise=golden.numpy(),
            source_rewards=outcome.source_rewards,
            golden_rewards=outcome.golden_rewards,
            noise_stats=_STATS,
            source_image=None,
            golden_image=None,
        )


def main() -> None:
    """Write a data set and print its content."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("url")
    parser.add_argument("--count", type=int, default=4096)
    options = parser.parse_args()
    manifest = write_pairs(options.url, options.count)
    shards = manifest.shards[Split.TRAIN]["arrow"]
    size = sum(shard.num_bytes for shard in shards)
    print(f"{options.url}: {options.count} pairs in {len(shards)} shards, {size / 1e6:,.0f} MB")


if __name__ == "__main__":
    main()
