"""Checks of shards against the manifest, and of their pairs against receipts and seeds."""

import io
from collections.abc import Iterator
from hashlib import sha256 as new_sha256

import numpy as np

from pipeline.core.errors import VerificationError
from pipeline.core.identity import prompt_id
from pipeline.core.records import Split
from pipeline.diffusion.noise import source_noise, stored
from pipeline.publish.verify.findings import Verification, message_of, read_promised
from pipeline.publish.verify.units import (
    Expected,
    ExpectedPair,
    content_of,
    digest_of,
    digest_of_rewards,
)
from pipeline.storage import layout
from pipeline.storage.formats.checked_bytes import pieces_of
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealed_files import ShardRef, read_all_ways, shard_refs


def check_shards(
    store: ObjectStore, manifest: Manifest, expected: Expected, found: Verification
) -> None:
    """Check every shard of a manifest; all formats of a split must hold the same pairs."""
    key = layout.manifest_key(manifest.plan_id, manifest.version)
    for split in Split:
        formats = manifest.shards[split]
        checks = [
            _SplitCheck(store, manifest, expected, found, split, shard_format)
            for shard_format in formats
        ]
        contents = [check.run() for check in checks]
        if None not in contents and len(set(contents)) > 1:
            found.add(key, f"{split}: the formats {', '.join(formats)} hold different pairs")


class _SplitCheck:
    """Check of one split in one format."""

    def __init__(
        self,
        store: ObjectStore,
        manifest: Manifest,
        expected: Expected,
        found: Verification,
        split: Split,
        shard_format: ShardFormat,
    ) -> None:
        self.format = shard_format
        self._store = store
        self._manifest = manifest
        self._expected = expected
        self._found = found
        self._split = split
        self._content = new_sha256()

    def run(self) -> str | None:
        """Check all shards; return a digest of all pairs, or None if a shard is unreadable."""
        outcomes = iter(self._expected.pairs[self._split])
        shards = shard_refs(self._store, self._manifest, self._split, self.format)
        damaged = [ref for ref in shards if not self._shard(ref, outcomes)]
        if self._expected.complete and (left := next(outcomes, None)):
            key = layout.manifest_key(self._manifest.plan_id, self._manifest.version)
            where = f"{self._split} ({self.format})"
            self._found.add(key, f"{where}: pair {left.sample_id} is in no shard")
        return None if damaged else self._content.hexdigest()

    def _shard(self, ref: ShardRef, outcomes: Iterator[ExpectedPair]) -> bool:
        """Check one shard; return True if it could be read."""
        self._found.shards += 1
        info = ref.info
        # Take the outcomes even if the shard is unreadable, so that the next shard is compared
        # with the outcomes of its pairs.
        expected = [next(outcomes, None) for _ in range(info.num_samples)]
        data = read_promised(
            self._store,
            info.key,
            info.sha256,
            "the manifest",
            self._found,
            num_bytes=info.num_bytes,
        )
        if data is None:
            return False
        self._found.num_bytes += len(data)
        if info.pieces is not None and info.pieces != pieces_of(io.BytesIO(data)):
            key = layout.manifest_key(self._manifest.plan_id, self._manifest.version)
            self._found.add(key, f"the digests of the pieces of {info.key} are not those of it")
        try:
            pairs = read_all_ways(data, ref)
        except VerificationError as error:
            self._found.add(info.key, message_of(self._store, info.key, error))
            return False
        for pair, outcome in zip(pairs, expected, strict=True):
            self._pair(info.key, pair, outcome)
        self._found.pairs += len(pairs)
        self._found.pairs_by_format[self.format] += len(pairs)
        return True

    def _pair(self, key: str, pair: NoisePair, outcome: ExpectedPair | None) -> None:
        content = content_of(pair)
        # One digest over all pairs: the formats of a split must hold the same ones, in the same
        # order.
        self._content.update(content)
        faults = [*_faults_alone(pair, tuple(self._manifest.latent_shape))]
        if self._expected.complete:
            promised = self._expected.contents.get(pair.sample_id, content)
            faults += _faults_against(pair, outcome)
            faults += [] if content == promised else ["not what its unit object holds"]
        for fault in faults:
            self._found.add(key, f"{pair.sample_id}: {fault}")


def _faults_alone(pair: NoisePair, latent_shape: tuple[int, ...]) -> Iterator[str]:
    """Yield faults of a pair that can be found without its receipt."""
    if pair.golden_noise.shape != latent_shape:
        yield f"golden noise has the shape {pair.golden_noise.shape}"
    if not np.isfinite(pair.golden_noise).all():
        yield "golden noise is not finite"
    if pair.source_noise is not None:
        # Compared as bytes: equal floats may differ in the sign of zero.
        rebuilt = stored(source_noise(pair.seed, latent_shape)).numpy()
        if rebuilt.tobytes() != pair.source_noise.tobytes():
            yield f"source noise is not that of seed {pair.seed}"


def _faults_against(pair: NoisePair, outcome: ExpectedPair | None) -> Iterator[str]:
    """Yield differences between a pair and the receipt of its candidate."""
    if outcome is None or pair.sample_id != outcome.sample_id:
        yield f"the receipts have {outcome.sample_id if outcome else 'nothing'} in its place"
        return
    if digest_of(pair.seed, prompt_id(pair.prompt), pair.prompt_id) != outcome.candidate:
        yield "seed or prompt are not those of its receipt"
    if pair.judged is not None and pair.judged != outcome.judged:
        yield f"judged is {pair.judged}, and its receipt has {outcome.judged}"
    for name, held, given in (
        ("source", pair.source_rewards, outcome.source_rewards),
        ("golden", pair.golden_rewards, outcome.golden_rewards),
    ):
        if digest_of_rewards(held) != given:
            yield f"{name} rewards are not those of its receipt"
