"""Rows of a catalog's shards in whichever process asks: opened, checked, and skipped if need be."""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from pipeline.errors import ObjectNotFoundError, VerificationError
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Catalog, ShardRef
from pipeline.reader.checked import Known
from pipeline.reader.columns import PairColumns
from pipeline.reader.files import map_shard
from pipeline.reader.open_shards import OpenShards
from pipeline.reader.order import Indices
from pipeline.reader.samples import Row
from pipeline.reader.sending import stop_where_a_batch_is_lost
from pipeline.reader.shards import read_columns
from pipeline.reader.shared import SharedState

_DAMAGE = (ObjectNotFoundError, VerificationError)


class ShardAccess:
    """Gives rows, which are counted through all shards of a catalog."""

    def __init__(
        self,
        catalog: Catalog,
        shared: SharedState,
        cache: Cache | None,
        *,
        verify: bool,
        skips_damage: bool,
        window_bytes: int,
        prefetch: int,
    ) -> None:
        self._catalog = catalog
        self._shared = shared
        self._cache = cache
        self._verify = verify
        self._skips_damage = skips_damage
        self._prefetch = prefetch
        self._sizes = [ref.info.num_bytes for ref in catalog.shards]
        # Each source's window may lie across one shard more than fits into it.
        around = prefetch + 1 + len(catalog.pools)
        self._capacity = window_bytes + around * max(self._sizes, default=0)
        self._of_process: tuple[int, OpenShards] | None = None

    def locate(self, numbers: Indices) -> tuple[Indices, Indices]:
        """The shard of each row, and its place there."""
        shards = np.searchsorted(self._catalog.first_row, numbers, side="right") - 1
        return shards, numbers - self._catalog.first_row[shards]

    def set_prefetch_order(self, shards: Indices) -> None:
        """Say which shards rows will come from, in order."""
        distinct, first = np.unique(shards, return_index=True)
        self._open_shards().set_prefetch_order(distinct[np.argsort(first)].tolist())

    def rows(self, shards: Sequence[int], places: Sequence[int]) -> list[Row]:
        """Some rows; those of damaged shards are left out, or an error that names the shard."""
        opened = {shard: self._columns(shard) for shard in dict.fromkeys(shards)}
        found = ((opened[shard], place) for shard, place in zip(shards, places, strict=True))
        return [(columns, place) for columns, place in found if columns is not None]

    def look_ahead(self) -> None:
        """Open and check, in threads, what comes after the rows that were asked for."""
        self._open_shards().look_ahead()

    def _columns(self, shard: int) -> PairColumns | None:
        """An opened shard; None for one that is to be skipped."""
        if self._skips_damage and self._shared.is_damaged(shard):
            return None
        try:
            return self._open_shards().get(shard)
        except _DAMAGE as error:
            if not self._skips_damage:
                raise
            self._shared.mark_damaged(shard)
            warnings.warn(f"skipped a shard: {error}", stacklevel=2)
            return None

    def _open_shards(self) -> OpenShards:
        """Those of this process: threads and mappings do not cross a fork."""
        if self._of_process is None or self._of_process[0] != os.getpid():
            opened = OpenShards(self._open, self._sizes, self._capacity, self._prefetch, _share())
            self._of_process = (os.getpid(), opened)
            if get_worker_info() is not None:
                stop_where_a_batch_is_lost()
        return self._of_process[1]

    def _open(self, shard: int) -> PairColumns:
        known = self._shared.whole_pieces(shard) if self._verify else None
        # What is skipped must not depend on which of its rows came first.
        return open_pairs(
            self._catalog.shards[shard], self._cache, known, at_once=self._skips_damage
        )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_of_process": None}


def open_pairs(
    ref: ShardRef, cache: Cache | None, known: Known | None, *, at_once: bool
) -> PairColumns:
    """The pairs of a shard, checked piece by piece when they are used, or all ``at_once``.

    Raises ``ObjectNotFoundError`` and ``VerificationError`` naming the shard.
    """
    return map_shard(
        ref.store,
        ref.info,
        cache,
        known,
        lambda content: read_columns(content, ref),
        at_once=at_once,
    )


def _share() -> float:
    """Where this process begins to check a shard ahead: DataLoader workers begin apart."""
    info = get_worker_info()
    return 0.0 if info is None else info.id / info.num_workers
