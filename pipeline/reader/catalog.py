"""Catalog of the data to read: the shards behind the URLs and the rows that pass the filters."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.identity import canonical_json, sha256
from pipeline.core.records import Split
from pipeline.reader.cache import Cache
from pipeline.reader.files import open_ledger_file
from pipeline.reader.order import Indices, Pool
from pipeline.reader.selection import Filters, check_rewards, rows_passing
from pipeline.storage.formats.ledger import Mask
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.sealed_files import ShardRef, open_ledger, shard_refs
from pipeline.storage.success import SealedManifest, sealed_plans
from pipeline.storage.versions import Versions, choose_versions, superseded


@dataclass(frozen=True)
class Source:
    """One data set in a mixture of several."""

    url: str
    weight: float = 1.0
    """Average number of draws of each pair per epoch: 2 draws each twice, 0.1 a tenth of them."""
    version: Versions = None
    """Version of the plans to read. None reads the current versions."""
    unsigned: bool = False
    """True to read a public bucket without credentials."""


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A source and the manifests that are read from it."""

    store: ObjectStore
    weight: float
    sealed: tuple[SealedManifest, ...]
    """Sealed manifests to read, one per plan."""


@dataclass(frozen=True, kw_only=True)
class Catalog:
    """The shards of all sources and the rows to read from them."""

    shards: tuple[ShardRef, ...]
    first_row: Indices
    """Global number of each shard's first row, followed by the total number of rows."""
    rows: tuple[Indices | None, ...]
    """Global numbers of the rows that pass the filters, per source. None if all rows pass."""
    pools: tuple[Pool, ...]
    """Input of the epoch's order, one pool per source."""
    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    """Reward names of all plans, in the order of their first appearance."""
    sources: tuple[OpenedSource, ...]

    @property
    def digest(self) -> str:
        """Digest of the manifests and the weights of all sources."""
        return digest_of(
            (source.weight, [sealed.sha256 for sealed in source.sealed]) for source in self.sources
        )

    @property
    def num_samples(self) -> int:
        """Number of pairs that an epoch draws."""
        return sum(pool.num_drawn for pool in self.pools)

    def row_numbers(self, owners: Indices, rows: Indices) -> Indices:
        """Convert row numbers within sources to row numbers across all shards.

        ``owners`` holds the source of each row in ``rows``.
        """
        first = self._first_of_source()
        if len(self.rows) == 1:
            kept = self.rows[0]
            return rows if kept is None else kept[rows]
        numbers = np.empty_like(rows)
        for source, kept in enumerate(self.rows):
            mask = owners == source
            numbers[mask] = rows[mask] + first[source] if kept is None else kept[rows[mask]]
        return numbers

    def _first_of_source(self) -> list[int]:
        shards = np.cumsum([0, *(len(pool.counts) for pool in self.pools)])
        return [int(self.first_row[shard]) for shard in shards]


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """An opened source with its manifests, which the catalog does not keep.

    They list all shards of all splits, and a catalog is copied to each DataLoader worker.
    """

    store: ObjectStore
    weight: float
    parts: list[tuple[SealedManifest, Manifest]]


def digest_of(sources: Iterable[tuple[float, Sequence[str]]]) -> str:
    """Return the digest of a data set from each source's weight and manifest digests."""
    return sha256(canonical_json([[weight, *digests] for weight, digests in sources]))


def sources_of(
    url: str | Sequence[Source], version: Versions, *, unsigned: bool
) -> Sequence[Source]:
    """Return the sources to read.

    Raises ``UserError`` if ``version`` or ``unsigned`` is given together with ``Source`` objects.
    """
    if isinstance(url, str):
        return [Source(url, version=version, unsigned=unsigned)]
    if version is not None or unsigned:
        raise UserError("give version and unsigned to each Source, as in Source(url, version=1)")
    return list(url)


def read_catalog(
    sources: Sequence[Source], split: Split, filters: Filters, cache: Cache | None
) -> Catalog:
    """Read ``_SUCCESS``, the manifests and, if the filters select rows, the ledgers.

    Raises ``UserError`` if a source has no sealed data set, if no pair passes the filters, and for
    unknown plans, unknown rewards or invalid weights.
    """
    if not sources:
        raise UserError("no source to read: give a URL, or one Source or more")
    stores = [_open(source) for source in sources]
    current = [sealed_plans(store) for store in stores]
    _check_plans(stores, current, filters)
    chosen = [
        _chosen(source, store, sealed, filters)
        for source, store, sealed in zip(sources, stores, current, strict=True)
    ]
    shards: list[ShardRef] = []
    rows: list[Indices | None] = []
    pools: list[Pool] = []
    for source in chosen:
        refs = [
            ref for _, manifest in source.parts for ref in shard_refs(source.store, manifest, split)
        ]
        passing = _passing(source, split, filters, cache)
        first = sum(shard.info.num_samples for shard in shards)
        rows.append(None if passing is None else np.flatnonzero(passing) + first)
        pools.append(_pool(refs, passing, source.weight))
        shards += refs
    catalog = Catalog(
        shards=tuple(shards),
        first_row=np.cumsum([0, *(ref.info.num_samples for ref in shards)]),
        rows=tuple(rows),
        pools=tuple(pools),
        latent_shape=_latent_shape(chosen, split),
        reward_names=_reward_names(chosen),
        sources=tuple(
            OpenedSource(
                store=source.store,
                weight=source.weight,
                sealed=tuple(sealed for sealed, _ in source.parts),
            )
            for source in chosen
        ),
    )
    _check_not_empty(catalog, sources, split, filters)
    return catalog


def _open(source: Source) -> ObjectStore:
    if not source.weight > 0:
        raise UserError(f"{source.url}: a weight is positive, not {source.weight:g}")
    return open_store(source.url, unsigned=source.unsigned)


def _check_plans(
    stores: Sequence[ObjectStore], current: Sequence[Sequence[SealedManifest]], filters: Filters
) -> None:
    there = [sealed.plan_id for plans in current for sealed in plans]
    for plan_id in filters.plans or ():
        if plan_id not in there:
            where = ", ".join(store.url for store in stores)
            raise UserError(f"{where}: no plan {plan_id!r}; there are {', '.join(there)}")


def _chosen(
    source: Source, store: ObjectStore, current: Sequence[SealedManifest], filters: Filters
) -> _Opened:
    wanted = [
        sealed for sealed in current if filters.plans is None or sealed.plan_id in filters.plans
    ]
    parts = choose_versions(store, wanted, source.version)
    if filters.plans is None:
        judged_again = superseded(manifest.plan for _, manifest in parts)
        parts = [part for part in parts if part[0].plan_id not in judged_again]
    for _, manifest in parts:
        check_rewards(filters, manifest, store.url)
    return _Opened(store=store, weight=source.weight, parts=parts)


def _passing(source: _Opened, split: Split, filters: Filters, cache: Cache | None) -> Mask | None:
    """Return a mask of the source's pairs that pass, or None if the filters select no rows."""
    if not filters.by_row:
        return None
    masks = []
    for _, manifest in source.parts:
        with open_ledger_file(source.store, manifest.ledger, cache) as file:
            ledger = open_ledger(file, source.store, manifest)
            masks.append(rows_passing(filters, manifest, split, ledger))
    return np.concatenate(masks) if masks else np.zeros(0, bool)


def _pool(refs: Sequence[ShardRef], passing: Mask | None, weight: float) -> Pool:
    """Return the pool of a source's shards, with only the rows that pass the filters."""
    counts = np.array([ref.info.num_samples for ref in refs], np.int64)
    if passing is not None:
        # Passing rows per shard, as differences of their cumulative sum at the shards' edges.
        edges = np.cumsum([0, *counts])
        counts = np.diff(np.concatenate([[0], np.cumsum(passing)])[edges])
    sizes = np.array([ref.info.num_bytes for ref in refs], np.int64)
    # A shard with no passing row is never opened, so it must not use up the shuffle window.
    return Pool(counts=counts, num_bytes=sizes * (counts > 0), weight=weight)


def _latent_shape(opened: Sequence[_Opened], split: Split) -> tuple[int, ...]:
    """Return the latent shape of all plans. Raise ``UserError`` if plans have several shapes."""
    shapes = {
        tuple(manifest.latent_shape): f"plan {manifest.plan_id} of {source.store.url}"
        for source in opened
        for _, manifest in source.parts
        if manifest.num_samples(split)
    }
    if len(shapes) > 1:
        found = "; ".join(f"{shape} in {where}" for shape, where in shapes.items())
        raise UserError(
            f"pairs of several latent shapes cannot be one data set: {found}; choose with plans="
        )
    return next(iter(shapes), ())


def _reward_names(opened: Sequence[_Opened]) -> tuple[str, ...]:
    names = (
        name
        for source in opened
        for _, manifest in source.parts
        for name in manifest.plan.reward_names
    )
    return tuple(dict.fromkeys(names))


def _check_not_empty(
    catalog: Catalog, sources: Sequence[Source], split: Split, filters: Filters
) -> None:
    if catalog.num_samples or not (filters.described() or len(sources) > 1):
        return
    where = ", ".join(source.url for source in sources)
    without = int(catalog.first_row[-1])
    given = ", ".join(f"{name}={value!r}" for name, value in filters.described().items())
    raise UserError(
        f"{where}: no pair of split {split} is left of {without} with {given or 'these weights'}; "
        "ask for less"
    )
