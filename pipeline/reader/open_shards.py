"""Open shards of one process, with prefetching in threads and a limit on the mapped bytes."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.reader.columns import PairColumns

_OPENING_THREADS = 2


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
        if self._open.pop(shard, None) is not None:
            self._held -= self._num_bytes[shard]


def _done(opened: PairColumns) -> Future[PairColumns]:
    future: Future[PairColumns] = Future()
    future.set_result(opened)
    return future
