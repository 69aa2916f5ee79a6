"""The shards at hand in one process: opened ahead in threads, and let go within a bound."""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from pipeline.reader.columns import PairColumns

_THREADS = 2


class OpenShards:
    """Shards by number. ``open_shard`` runs in threads; the mapped bytes are bounded.

    ``num_bytes`` are the sizes of all shards; what was not used for longest goes first. Where
    shards are opened ahead, the same threads check their pieces ahead, beginning at ``share``.
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
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="npd-shards")
        self._open: OrderedDict[int, Future[PairColumns]] = OrderedDict()
        self._held = 0
        self._coming: Sequence[int] = ()
        self._turn: dict[int, int] = {}
        self._asked = 0

    def expect(self, shards: Sequence[int]) -> None:
        """Name the shards that will be needed, in the order of their first use."""
        self._coming = shards
        self._turn = {shard: turn for turn, shard in enumerate(shards)}
        self._asked = 0

    def get(self, shard: int) -> PairColumns:
        """A shard, opened if need be. Raises what opening it raised; then it is tried anew."""
        future = self._ask(shard)
        try:
            opened = future.result()
        except BaseException:
            self._let_go(shard)
            raise
        # Afterwards: what is waited for has the wire, and the processor, to itself.
        self._ask_ahead(self._turn.get(shard, -1))
        return opened

    def _ask(self, shard: int) -> Future[PairColumns]:
        if shard in self._open:
            self._open.move_to_end(shard)
            return self._open[shard]
        future = self._threads.submit(self._open_shard, shard)
        if self._prefetch:
            future.add_done_callback(self._check_ahead)
        self._open[shard] = future
        self._held += self._num_bytes[shard]
        while self._held > self._capacity and len(self._open) > 1:
            self._let_go(next(iter(self._open)))
        return future

    def _ask_ahead(self, turn: int) -> None:
        wanted = min(turn + 1 + self._prefetch, len(self._coming))
        while self._asked < wanted:
            self._ask(self._coming[self._asked])
            self._asked += 1

    def _check_ahead(self, opened: Future[PairColumns]) -> None:
        """In the thread that has opened the shard, and not before it was handed over."""
        if not opened.cancelled() and opened.exception() is None:
            opened.result().content.check_ahead(self._share)

    def _let_go(self, shard: int) -> None:
        if self._open.pop(shard, None) is not None:
            self._held -= self._num_bytes[shard]

    def close(self) -> None:
        """Start nothing more and let go of everything."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._open.clear()
