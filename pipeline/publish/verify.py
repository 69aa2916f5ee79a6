"""Reads a data set back and looks for anything that is not as promised.

Every object's digest; receipts against plan; unit objects, shards and ledger against receipts;
every noise finite; every source noise rebuilt from its seed, bit for bit. A problem names the
object and, where there is one, the sample. Memory holds one shard, the ledger, and the outcomes and
digests of kept pairs.
"""

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256 as new_sha256

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.identity import prompt_id, sha256
from pipeline.plan import Plan, PromptTable
from pipeline.publish.compact import read_unit
from pipeline.publish.ledger import ledger_rows, ledger_schema, ledger_table
from pipeline.publish.webdataset_shard import members
from pipeline.reader.shards import read_shard
from pipeline.records import Outcome, Split
from pipeline.storage import layout
from pipeline.storage.funnel import FunnelCount
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import Manifest, ShardInfo, read_manifest, read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import read_plan, read_prompt_table
from pipeline.storage.receipts import Receipt, read_receipt
from pipeline.storage.schema import NoisePair, PairSchema

Rewards = dict[str, float | None]

_UNREADABLE = (pa.ArrowException, tarfile.TarError, EOFError, LookupError, TypeError, ValueError)
"""What reading a shard raises whose bytes are as promised and make no sense."""


@dataclass
class Verification:
    """How much was looked at, and what was wrong."""

    manifests: int = 0
    units: int = 0
    candidates: int = 0
    shards: int = 0
    pairs: int = 0
    num_bytes: int = 0
    """Of shards and ledgers."""
    problems: list[str] = field(default_factory=list)
    """Each names the object, and the sample where there is one."""

    def add(self, problem: str) -> None:
        """Note a problem."""
        self.problems.append(problem)


def verify(store: ObjectStore) -> Verification:
    """Check every sealed plan of a store.

    Raises ``VerificationError`` only where nothing is sealed, or ``_SUCCESS`` cannot be read.
    """
    found = Verification()
    success = read_success(store)
    if success is None:
        raise VerificationError(f"{store.url}: nothing is sealed here; finish it with `npd build`")
    for sealed in success.manifests:
        try:
            manifest = read_manifest(store, sealed)
        except VerificationError as error:
            found.add(str(error))
            continue
        found.manifests += 1
        _PlanCheck(store, manifest, found).run()
    return found


class _PlanCheck:
    """The check of one manifest and all that it refers to."""

    def __init__(self, store: ObjectStore, manifest: Manifest, found: Verification) -> None:
        self._store = store
        self._manifest = manifest
        self._found = found
        self._kept: dict[Split, list[Outcome]] = {split: [] for split in Split}
        self._contents: dict[str, bytes] = {}
        """Of each pair in a unit object, by sample."""

    def run(self) -> None:
        plan_and_prompts = self._plan()
        if plan_and_prompts is None:
            return
        self._receipts(*plan_and_prompts, self._ledger(plan_and_prompts[0]))
        for split, formats in self._manifest.shards.items():
            contents = [
                self._shards(split, shard_format, shards)
                for shard_format, shards in formats.items()
            ]
            if any(content != contents[0] for content in contents[1:]):
                self._found.add(f"{split}: the formats {', '.join(formats)} hold different pairs")

    def _plan(self) -> tuple[Plan, PromptTable] | None:
        plan_id = self._manifest.plan_id
        try:
            plan = read_plan(self._store, plan_id)
            prompts = read_prompt_table(self._store, plan_id)
        except (ObjectNotFoundError, ValidationError, pa.ArrowException) as error:
            self._found.add(f"plan {plan_id}: {error}")
            return None
        if plan.identity() != plan_id:
            self._found.add(f"{layout.plan_key(plan_id)}: its content is not that of its id")
        if plan != self._manifest.plan:
            self._found.add(f"{layout.plan_key(plan_id)}: not the plan in the manifest")
        if prompts.sha256() != plan.prompts_sha256:
            self._found.add(f"{layout.prompts_key(plan_id)}: not the prompts of the plan")
        return plan, prompts

    def _receipts(self, plan: Plan, prompts: PromptTable, ledger: pa.Table | None) -> None:
        funnel = FunnelCount()
        for unit in range(plan.num_units):
            key = layout.receipt_key(plan.plan_id, unit)
            try:
                receipt = read_receipt(self._store, plan.plan_id, unit)
            except (ObjectNotFoundError, VerificationError) as error:
                self._found.add(f"{key}: {error}")
                continue
            self._found.units += 1
            self._found.candidates += len(receipt.outcomes)
            funnel.add(receipt.outcomes)
            expected = list(prompts.candidates(plan, plan.unit_range(unit)))
            if [_identity(outcome) for outcome in receipt.outcomes] != [
                (candidate.index, candidate.sample_id, candidate.split) for candidate in expected
            ]:
                self._found.add(f"{key}: its candidates are not those of the plan")
                continue
            if ledger is not None:
                texts = [candidate.prompt for candidate in expected]
                rows = ledger_table(ledger_rows(receipt.outcomes, texts), ledger.schema)
                if not ledger.slice(plan.unit_range(unit).start, len(rows)).equals(rows):
                    self._found.add(f"{key}: not what {self._manifest.ledger.key} says of it")
            for outcome in receipt.kept():
                self._kept[outcome.split].append(outcome)
            self._unit_object(key, receipt)
        if funnel.total() != self._manifest.funnel:
            key = layout.manifest_key(plan.plan_id, self._manifest.version)
            self._found.add(f"{key}: its funnel is not that of the receipts")

    def _unit_object(self, receipt_key: str, receipt: Receipt) -> None:
        try:
            table = read_unit(self._store, receipt.data_key, receipt.data_sha256)
        except (ObjectNotFoundError, VerificationError, pa.ArrowException) as error:
            self._found.add(f"{receipt.data_key}: {error}")
            return
        if table["sample_id"].to_pylist() != [outcome.sample_id for outcome in receipt.kept()]:
            self._found.add(f"{receipt.data_key}: not the pairs that {receipt_key} lists")
            return
        schema = PairSchema.of(table.schema)
        for batch in table.to_batches():
            for pair in schema.to_pairs(batch):
                self._contents[pair.sample_id] = _content(pair)

    def _ledger(self, plan: Plan) -> pa.Table | None:
        """The ledger, or None where it cannot be compared with the receipts."""
        info = self._manifest.ledger
        data = self._object(info.key, info.sha256, info.num_bytes)
        if data is None:
            return None
        try:
            ledger = pq.read_table(pa.BufferReader(data))
        except pa.ArrowException as error:
            self._found.add(f"{info.key}: cannot be read: {error}")
            return None
        if not ledger.schema.equals(ledger_schema(plan.reward_names)):
            self._found.add(f"{info.key}: its columns are not those of the contract")
            return None
        if not ledger.num_rows == info.num_rows == plan.num_candidates:
            self._found.add(
                f"{info.key}: {ledger.num_rows} rows, {info.num_rows} promised, for "
                f"{plan.num_candidates} candidates"
            )
        return ledger

    def _shards(self, split: Split, shard_format: ShardFormat, shards: list[ShardInfo]) -> str:
        """Check one format of a split; returns a digest of the pairs' contents."""
        content = new_sha256()
        expected = iter(self._kept[split])
        for info in shards:
            self._found.shards += 1
            data = self._object(info.key, info.sha256, info.num_bytes)
            if data is None:
                # Its pairs cannot be told; go on with the next shard's.
                for _ in range(info.num_samples):
                    next(expected, None)
                continue
            count = 0
            try:
                for pair in self._pairs(info.key, data, shard_format):
                    count += 1
                    digest = _content(pair)
                    self._pair(info.key, pair, digest, next(expected, None))
                    content.update(digest)
            except _UNREADABLE as error:
                self._found.add(f"{info.key}: cannot be read: {error}")
            if count != info.num_samples:
                self._found.add(f"{info.key}: {count} pairs, {info.num_samples} promised")
            self._found.pairs += count
        if left := next(expected, None):
            self._found.add(f"{split} ({shard_format}): pair {left.sample_id} is in no shard")
        return content.hexdigest()

    def _pairs(self, key: str, data: bytes, shard_format: ShardFormat) -> Iterator[NoisePair]:
        file = pa.BufferReader(data)
        if shard_format == "arrow":
            schema = pa.ipc.open_file(file).schema
            wanted = PairSchema(
                latent_shape=tuple(self._manifest.latent_shape),
                reward_names=tuple(self._manifest.plan.reward_names),
            ).arrow()
            if not schema.equals(wanted, check_metadata=True):
                self._found.add(f"{key}: its columns are not those of the contract")
                return
            file.seek(0)
        yield from read_shard(file, shard_format)

    def _pair(self, key: str, pair: NoisePair, content: bytes, outcome: Outcome | None) -> None:
        where = f"{key}: {pair.sample_id}"
        if outcome is None or pair.sample_id != outcome.sample_id:
            wanted = outcome.sample_id if outcome else "nothing"
            self._found.add(f"{where}: the receipts have {wanted} in its place")
            return
        if (pair.seed, prompt_id(pair.prompt), pair.prompt_id) != (
            outcome.seed,
            outcome.prompt_id,
            outcome.prompt_id,
        ):
            self._found.add(f"{where}: seed or prompt are not those of its receipt")
        for name, stored_rewards, rewards in (
            ("source", pair.source_rewards, outcome.source_rewards),
            ("golden", pair.golden_rewards, outcome.golden_rewards),
        ):
            if not _same_rewards(stored_rewards, rewards):
                self._found.add(f"{where}: {name} rewards are not those of its receipt")
        if self._contents.get(pair.sample_id, content) != content:
            self._found.add(f"{where}: not what its unit object holds")
        if pair.golden_noise.shape != tuple(self._manifest.latent_shape):
            self._found.add(f"{where}: golden noise has the shape {pair.golden_noise.shape}")
        if not np.isfinite(pair.golden_noise).all():
            self._found.add(f"{where}: golden noise is not finite")
        if pair.source_noise is not None:
            rebuilt = stored(source_noise(pair.seed, self._manifest.latent_shape)).numpy()
            if rebuilt.tobytes() != pair.source_noise.tobytes():
                self._found.add(f"{where}: source noise is not that of seed {pair.seed}")

    def _object(self, key: str, digest: str, num_bytes: int) -> bytes | None:
        try:
            data = self._store.get(key)
        except ObjectNotFoundError:
            self._found.add(f"{key}: missing")
            return None
        self._found.num_bytes += len(data)
        if len(data) != num_bytes or sha256(data) != digest:
            self._found.add(f"{key}: not the bytes that the manifest promises")
            return None
        return data


def _identity(outcome: Outcome) -> tuple[int, str, Split]:
    return outcome.candidate, outcome.sample_id, outcome.split


def _content(pair: NoisePair) -> bytes:
    """A digest of everything in a pair, whatever format it was read from."""
    digest = new_sha256()
    for name, data in sorted(members(pair).items()):
        digest.update(f"{name} {len(data)} ".encode() + data)
    return digest.digest()


def _same_rewards(held: Rewards, promised: Rewards) -> bool:
    return _as_float32(held) == _as_float32(promised)


def _as_float32(rewards: Rewards) -> dict[str, float | None]:
    return {
        name: None if score is None else float(np.float32(score)) for name, score in rewards.items()
    }
