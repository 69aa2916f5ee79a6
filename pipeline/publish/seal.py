"""Sealing of a plan: shards, ledger, manifest and ``_SUCCESS`` are written from the receipts.

The receipts are read once, in order. All outputs depend on them alone, so sealing twice writes the
same bytes under the same keys.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from pipeline.config.plan import Plan
from pipeline.core.errors import VerificationError
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.identity import canonical_json, file_sha256
from pipeline.core.records import Candidate, Split
from pipeline.publish.compact import (
    CompactedShard,
    ShardPlan,
    ShardTask,
    plan_shards,
    put_content_addressed,
)
from pipeline.publish.reselection import Reselection
from pipeline.storage import layout
from pipeline.storage.durable import scratch_folder
from pipeline.storage.formats.checked_bytes import ShardInfo
from pipeline.storage.formats.ledger import LedgerInfo, LedgerWriter
from pipeline.storage.formats.pairs import PairSchema
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.layout import ShardFormat
from pipeline.storage.manifest import FunnelCount, Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Receipt, read_receipts
from pipeline.storage.success import seal_manifest

Compactor = Callable[[Iterable[ShardTask]], Iterator[CompactedShard]]
"""Function that runs ``compact`` over tasks and keeps their order, locally or on a cluster."""


def seal(
    store: ObjectStore, plan: Plan, prompts: PromptTable, run_compaction: Compactor
) -> Manifest:
    """Publish a plan whose units are all done as version 1.

    Raises as ``draft`` does, and ``VerificationError`` if the plan is sealed with another result.
    """
    manifest = draft(store, plan, prompts, run_compaction, version=1, margins=plan.margins)
    seal_manifest(store, manifest)
    return manifest


def draft(
    store: ObjectStore,
    plan: Plan,
    prompts: PromptTable,
    run_compaction: Compactor,
    *,
    version: int,
    margins: Mapping[str, float],
    overwrite_damaged: bool = False,
) -> Manifest:
    """Write the shards and the ledger of a version; return its manifest without storing it.

    The files have the plan's ``schema_version``, so that files of an older plan can be rebuilt
    with the promised bytes. With ``overwrite_damaged``, a damaged ledger is replaced. The
    compactor is responsible for damaged shards. Raises ``ObjectNotFoundError`` with the first unit
    that is not done, and ``VerificationError`` for a unit object that differs from its receipt's
    digest.
    """
    formats: list[ShardFormat] = list(plan.settings.output.formats)
    shards: dict[Split, dict[ShardFormat, list[ShardInfo]]] = {
        split: {shard_format: [] for shard_format in formats} for split in Split
    }
    reselection = Reselection(plan, margins)
    with scratch_folder("npd-ledger-") as folder:
        path = folder / "ledger.parquet"
        with LedgerWriter(path, plan.reward_names, plan.schema_version) as ledger:
            # The receipts stream through the summary and the plan of the shards to the compactor.
            # Each one is read once and then dropped.
            summary = _Summary(plan, prompts, ledger)
            receipts = map(reselection.of, read_receipts(store, plan.plan_id, plan.num_units))
            shard_plans = plan_shards(summary.of(receipts), plan.settings.output.shard_bytes)
            tasks = _tasks(store.url, plan, version, shard_plans, formats, summary)
            for shard in run_compaction(tasks):
                shards[shard.split][shard.format].append(shard.info)
        # The manifest comes last: when a caller stores it, all files that it names exist.
        return Manifest(
            schema_version=plan.schema_version,
            plan_id=plan.plan_id,
            version=version,
            selection=dict(margins),
            plan=plan,
            fingerprints=summary.fingerprints(),
            latent_shape=list(summary.latent_shape),
            shards=shards,
            funnel=summary.funnel.total(),
            ledger=_store_ledger(
                store,
                plan.plan_id,
                version,
                path,
                ledger.num_rows,
                overwrite_damaged=overwrite_damaged,
            ),
        )


def _tasks(
    url: str,
    plan: Plan,
    version: int,
    shard_plans: Iterable[ShardPlan],
    formats: Iterable[ShardFormat],
    summary: "_Summary",
) -> Iterator[ShardTask]:
    for shard in shard_plans:
        for shard_format in formats:
            yield ShardTask(
                url=url,
                plan_id=plan.plan_id,
                version=version,
                shard=shard,
                format=shard_format,
                rows_per_batch=plan.settings.output.rows_per_batch,
                # Known by now: shards are planned from receipts that the summary has seen.
                schema=PairSchema.of_plan(plan, summary.latent_shape),
                # A rebuilt manifest of an older plan must have the bytes that were sealed then.
                with_pieces=plan.schema_version >= 3,
            )


class _Summary:
    """Collector of the manifest's totals while the receipts stream to the shards."""

    def __init__(self, plan: Plan, prompts: PromptTable, ledger: LedgerWriter) -> None:
        self._plan = plan
        self._prompts = prompts
        self._ledger = ledger
        self._fingerprints: list[Fingerprint] = []
        """Distinct fingerprints, few. They have dictionaries, so they cannot be in a set."""
        self.funnel = FunnelCount(plan)
        self.latent_shape: tuple[int, ...] = ()

    def of(self, receipts: Iterable[Receipt]) -> Iterator[Receipt]:
        for receipt in receipts:
            positions = self._plan.unit_range(receipt.unit)
            candidates = list(self._prompts.candidates(self._plan, positions))
            self._check(receipt, candidates)
            self._ledger.add(receipt.outcomes, (candidate.prompt for candidate in candidates))
            self.funnel.add(receipt.outcomes)
            self.latent_shape = receipt.latent_shape
            if receipt.fingerprint not in self._fingerprints:
                self._fingerprints.append(receipt.fingerprint)
            yield receipt

    def _check(self, receipt: Receipt, candidates: Sequence[Candidate]) -> None:
        """Raise ``VerificationError`` for a receipt that cannot belong to the plan."""
        where = f"the receipt of unit {receipt.unit} of plan {self._plan.plan_id}"
        if not receipt.lists(candidates, self._plan):
            raise VerificationError(f"{where} lists other candidates than the plan")
        if self.latent_shape not in ((), receipt.latent_shape):
            raise VerificationError(
                f"{where} has noises of shape {receipt.latent_shape}, earlier ones have "
                f"{self.latent_shape}"
            )

    def fingerprints(self) -> list[Fingerprint]:
        """Return the distinct fingerprints, in an order that does not depend on the receipts'."""
        # Sorted by content, because the units may be computed in any order on any machine.
        return sorted(
            self._fingerprints,
            key=lambda each: canonical_json(each.model_dump(mode="json")),
        )


def _store_ledger(
    store: ObjectStore,
    plan_id: str,
    version: int,
    path: Path,
    num_rows: int,
    *,
    overwrite_damaged: bool,
) -> LedgerInfo:
    digest = file_sha256(path)
    key = layout.ledger_key(plan_id, version, digest)
    put_content_addressed(store, key, path, overwrite_damaged=overwrite_damaged)
    return LedgerInfo(key=key, sha256=digest, num_rows=num_rows, num_bytes=path.stat().st_size)
