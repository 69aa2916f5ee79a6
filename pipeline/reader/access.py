"""Access to rows of a catalog's shards in any process. Damaged shards can be skipped."""

import os
import warnings
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from torch.utils.data import get_worker_info

from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Catalog
from pipeline.reader.files import map_shard
from pipeline.reader.loaders import stop_where_a_batch_is_lost
from pipeline.reader.order import Indices
from pipeline.reader.samples import Row
from pipeline.reader.shared_state import SharedState
from pipeline.storage.formats.pairs import PairColumns
from pipeline.storage.sealed_files import read_columns

_OPENING_THREADS = 2
_DAMAGE = (ObjectNotFoundError, VerificationError)


class OpenShards:
    """Least-recently-used cache of open shards, with prefetching.

    open_shard: opens a shard by number.
    num_bytes: sizes of all shards.
    capacity: maximum number of mapped bytes. The least recently used shards are closed first.
    prefetch: number of shards to open ahead, in threads.
    share: relative position in a shard at which checking ahead starts.

    A single thread checks pieces ahead. With several checking threads in each DataLoader worker,
    the threads that make the next batch would seldom get a processor.
    """

    def __init__(
        self,
        open_shard: Callable[[int], PairColumns],
        num_bytes: Sequence[int],
        capacity: int,
        prefetch: int,
        share: float,
    ) -> None:
        self._open_shard = open_shard
        self._num_bytes = num_bytes
        self._capacity = capacity
        self._prefetch = prefetch
        self._share = share
        self._openers = ThreadPoolExecutor(_OPENING_THREADS, thread_name_prefix="npd-shards")
        self._checker = ThreadPoolExecutor(1, thread_name_prefix="npd-checks")
        self._open: OrderedDict[int, Future[PairColumns]] = OrderedDict()
        self._held = 0
        self._coming: Sequence[int] = ()
        self._turn: dict[int, int] = {}
        self._asked = 0
        self._reached = 0

    def set_prefetch_order(self, shards: Sequence[int]) -> None:
        """Set the shards that will be needed, in the order of their first use."""
        self._coming = shards
        self._turn = {shard: turn for turn, shard in enumerate(shards)}
        self._asked = self._reached = 0

    def get(self, shard: int) -> PairColumns:
        """Return a shard and open it if necessary.

        Raises the error of opening it. The next call then tries again.
        """
        if (future := self._open.get(shard)) is None:
            # Open it in this thread, which has to wait anyway. Another thread would have to be
            # started first.
            opened = self._open_shard(shard)
            self._hold(shard, _done(opened))
        else:
            self._open.move_to_end(shard)
            try:
                opened = future.result()
            except BaseException:
                # The shard may be repaired meanwhile, so do not keep the error.
                self._let_go(shard)
                raise
        self._reached = max(self._reached, self._turn.get(shard, -1) + 1)
        return opened

    def look_ahead(self) -> None:
        """Open and check the next shards in threads.

        Call this after the requested rows have been used. Until then, prefetching would compete
        with them for the network and the processor.
        """
        wanted = min(self._reached + self._prefetch, len(self._coming))
        for future in [self._ask(shard) for shard in self._coming[self._asked : wanted]]:
            self._checker.submit(self._check_ahead, future)
        self._asked = max(self._asked, wanted)

    def _ask(self, shard: int) -> Future[PairColumns]:
        if shard in self._open:
            self._open.move_to_end(shard)
        else:
            self._hold(shard, self._openers.submit(self._open_shard, shard))
        return self._open[shard]

    def _hold(self, shard: int, future: Future[PairColumns]) -> None:
        self._open[shard] = future
        self._held += self._num_bytes[shard]
        # The new shard is last, so it stays open even if it alone exceeds the capacity.
        while self._held > self._capacity and len(self._open) > 1:
            self._let_go(next(iter(self._open)))

    def _check_ahead(self, opened: Future[PairColumns]) -> None:
        """Check an opened shard ahead. An error of opening it is raised by ``get`` instead."""
        if not opened.cancelled() and opened.exception() is None:
            opened.result().content.check_ahead(self._share)

    def _let_go(self, shard: int) -> None:
        """Close a shard. Rows that are still in use keep its mapping alive."""
        if self._open.pop(shard, None) is not None:
            self._held -= self._num_bytes[shard]


def _done(opened: PairColumns) -> Future[PairColumns]:
    future: Future[PairColumns] = Future()
    future.set_result(opened)
    return future


class ShardAccess:
    """Returns rows by their number across all shards of a catalog."""

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
        # A source's window may start and end inside a shard, so it can span one more shard than
        # fits into it.
        around = prefetch + 1 + len(catalog.pools)
        self._capacity = window_bytes + around * max(self._sizes, default=0)
        self._of_process: tuple[int, OpenShards] | None = None

    def locate(self, numbers: Indices) -> tuple[Indices, Indices]:
        """Return the shard of each row and the row's place within the shard."""
        shards = np.searchsorted(self._catalog.first_row, numbers, side="right") - 1
        return shards, numbers - self._catalog.first_row[shards]

    def set_prefetch_order(self, shards: Indices) -> None:
        """Set the shards to prefetch, given the shard of each row in reading order."""
        distinct, first = np.unique(shards, return_index=True)
        self._open_shards().set_prefetch_order(distinct[np.argsort(first)].tolist())

    def rows(self, shards: Sequence[int], places: Sequence[int]) -> list[Row]:
        """Return rows by shard and place.

        Rows of damaged shards are left out with ``skips_damage``. Otherwise an error is raised that
        names the shard.
        """
        opened = {shard: self._columns(shard) for shard in dict.fromkeys(shards)}
        found = ((opened[shard], place) for shard, place in zip(shards, places, strict=True))
        return [(columns, place) for columns, place in found if columns is not None]

    def look_ahead(self) -> None:
        """Open and check the next shards in background threads."""
        self._open_shards().look_ahead()

    def _columns(self, shard: int) -> PairColumns | None:
        """Return an opened shard, or None if it is damaged and must be skipped."""
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
        """Return the open shards of this process."""
        # After a fork, the executors of the parent are still here, but not their threads. A task
        # would wait forever, so the forked process opens the shards again.
        if self._of_process is None or self._of_process[0] != os.getpid():
            opened = OpenShards(self._open, self._sizes, self._capacity, self._prefetch, _share())
            self._of_process = (os.getpid(), opened)
            # This process reads pairs, and not only a copy of the data set that it never uses.
            if get_worker_info() is not None:
                stop_where_a_batch_is_lost()
        return self._of_process[1]

    def _open(self, shard: int) -> PairColumns:
        """Open a shard, whose pieces are checked on use.

        Raises ``ObjectNotFoundError`` or ``VerificationError`` with the shard's name.
        """
        ref = self._catalog.shards[shard]
        return map_shard(
            ref.store,
            ref.info,
            self._cache,
            self._shared.verified_pieces(shard) if self._verify else None,
            lambda content: read_columns(content, ref),
            # If damage is skipped, check the complete shard now. Otherwise the skipped rows would
            # depend on the order in which rows are read.
            at_once=self._skips_damage,
        )

    def __getstate__(self) -> dict[str, Any]:
        # Threads and mappings cannot be pickled. The receiving process opens the shards again.
        return {**self.__dict__, "_of_process": None}


def _share() -> float:
    """Return the relative position at which this process starts to check a shard ahead.

    DataLoader workers start at different positions, so that they divide the work.
    """
    info = get_worker_info()
    return 0.0 if info is None else info.id / info.num_workers
