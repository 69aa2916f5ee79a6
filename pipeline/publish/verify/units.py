"""Checks of receipts against the plan, and of unit objects and ledger against receipts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256 as new_sha256
from typing import Self

import numpy as np

from pipeline.config.plan import Plan
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.records import Candidate, Outcome, Split
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Verification, message_of, read_promised
from pipeline.storage import layout
from pipeline.storage.formats.checked_bytes import ShardInfo
from pipeline.storage.formats.ledger import Ledger, LedgerInfo, ledger_schema
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.formats.webdataset_shard import members
from pipeline.storage.manifest import FunnelCount
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Receipt, read_receipt
from pipeline.storage.sealed_files import ShardRef, read_all_ways

Rewards = Mapping[str, float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedPair:
    """Digests of what a receipt promises of a pair. They are held for all pairs of a plan."""

    sample_id: str
    judged: bool
    candidate: bytes
    source_rewards: bytes
    golden_rewards: bytes

    @classmethod
    def of(cls, outcome: Outcome) -> Self:
        """Return the digests of an outcome."""
        return cls(
            sample_id=outcome.sample_id,
            judged=outcome.judged,
            candidate=digest_of(outcome.seed, outcome.prompt_id, outcome.prompt_id),
            source_rewards=digest_of_rewards(outcome.source_rewards),
            golden_rewards=digest_of_rewards(outcome.golden_rewards),
        )


def digest_of(*values: object) -> bytes:
    """Return a short digest of numbers and texts."""
    return new_sha256(repr(values).encode("utf-8", "backslashreplace")).digest()[:16]


def digest_of_rewards(rewards: Rewards) -> bytes:
    """Return a digest of rewards in float32, as shards store them. Receipts hold float64."""
    return digest_of(
        sorted(
            (name, None if score is None else float(np.float32(score)))
            for name, score in rewards.items()
        )
    )


@dataclass(kw_only=True)
class Expected:
    """Expected content of the shards, from the receipts and unit objects of a plan."""

    pairs: dict[Split, list[ExpectedPair]] = field(
        default_factory=lambda: {split: [] for split in Split}
    )
    """Maps each split to the pairs in its shards, in the plan's order."""
    contents: dict[str, bytes] = field(default_factory=dict)
    """Maps the sample id of each pair in a unit object to the digest of its content."""
    funnel: FunnelCount
    complete: bool = True
    """True if every receipt could be read and matches the plan."""


@dataclass(frozen=True, kw_only=True)
class CheckedLedger:
    """Ledger that can be compared with receipts."""

    key: str
    ledger: Ledger

    def holds(self, outcomes: Sequence[Outcome], candidates: Sequence[Candidate]) -> bool:
        """Return True if the rows of some consecutive candidates equal the given outcomes."""
        texts = [candidate.prompt for candidate in candidates]
        return self.ledger.holds(candidates[0].index, outcomes, texts)


def check_ledger(
    store: ObjectStore, plan: Plan, info: LedgerInfo, found: Verification
) -> CheckedLedger | None:
    """Read and check the ledger; return None if it cannot be compared with receipts."""
    data = read_promised(
        store, info.key, info.sha256, "the manifest", found, num_bytes=info.num_bytes
    )
    if data is None:
        return None
    found.num_bytes += len(data)
    try:
        schema = ledger_schema(plan.reward_names, plan.schema_version)
        ledger = Ledger(data, info, schema, f"{store.url}/{info.key}")
        # Now, because the rows are compared in many small slices.
        ledger.read_all()
    except VerificationError as error:
        found.add(info.key, message_of(store, info.key, error))
        return None
    if ledger.num_rows != plan.num_candidates:
        found.add(
            info.key,
            f"{ledger.num_rows} rows, for {plan.num_candidates} candidates",
        )
    return CheckedLedger(key=info.key, ledger=ledger)


def check_units(
    store: ObjectStore,
    plan: Plan,
    prompts: PromptTable,
    reselection: Reselection,
    ledger: CheckedLedger | None,
    found: Verification,
) -> Expected:
    """Check every receipt of a plan with its unit object, under a selection's decisions."""
    expected = Expected(funnel=FunnelCount(plan))
    for unit in range(plan.num_units):
        key = layout.receipt_key(plan.plan_id, unit)
        candidates = list(prompts.candidates(plan, plan.unit_range(unit)))
        receipt = _receipt(store, plan, unit, found)
        # Without every receipt it is unknown which pair belongs in which row of a shard.
        if receipt is None:
            expected.complete = False
            continue
        found.units += 1
        found.candidates += len(receipt.outcomes)
        if not receipt.lists(candidates, plan):
            found.add(key, "its candidates are not those of the plan")
            expected.complete = False
            continue
        decided = reselection.of(receipt)
        expected.funnel.add(decided.outcomes)
        # One problem for each unit, because all rows of a wrong ledger may differ.
        if ledger is not None and not ledger.holds(decided.outcomes, candidates):
            found.add(key, f"its outcomes differ from {ledger.key}")
        for outcome in decided.in_shards():
            expected.pairs[outcome.split].append(ExpectedPair.of(outcome))
        expected.contents.update(_unit_object(store, plan, receipt, found))
    return expected


def content_of(pair: NoisePair) -> bytes:
    """Return a digest of all values of a pair, independent of the file format."""
    digest = new_sha256()
    for name, data in sorted(members(pair).items()):
        digest.update(f"{name} {len(data)} ".encode() + data)
    return digest.digest()


def _receipt(store: ObjectStore, plan: Plan, unit: int, found: Verification) -> Receipt | None:
    key = layout.receipt_key(plan.plan_id, unit)
    try:
        return read_receipt(store, plan.plan_id, unit)
    except ObjectNotFoundError:
        found.add(key, "missing")
    except VerificationError as error:
        found.add(key, message_of(store, key, error))
    return None


def _unit_object(
    store: ObjectStore, plan: Plan, receipt: Receipt, found: Verification
) -> dict[str, bytes]:
    """Check a unit object; return the digests of its pairs by sample id, none if damaged."""
    key = receipt.data_key
    data = read_promised(
        store, key, receipt.data_sha256, "its receipt", found, num_bytes=receipt.data_bytes
    )
    if data is None:
        return {}
    listed = [outcome.sample_id for outcome in receipt.stored()]
    info = ShardInfo(
        key=key, sha256=receipt.data_sha256, num_samples=len(listed), num_bytes=len(data)
    )
    # A unit object has no entry in a manifest, so its reference is made from the receipt.
    schema = PairSchema.of_plan(plan, receipt.latent_shape)
    ref = ShardRef(store=store, info=info, format="arrow", plan_id=plan.plan_id, schema=schema)
    try:
        pairs = read_all_ways(data, ref)
    except VerificationError as error:
        found.add(key, message_of(store, key, error))
        return {}
    if [pair.sample_id for pair in pairs] != listed:
        found.add(key, "not the pairs that its receipt lists")
        return {}
    return {pair.sample_id: content_of(pair) for pair in pairs}
