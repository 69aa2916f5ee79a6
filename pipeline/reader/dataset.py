"""Sealed data sets as a torch ``IterableDataset``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.core.errors import UserError
from pipeline.reader.access import ShardAccess
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source, read_catalog, sources_of
from pipeline.reader.cursor import Cursor
from pipeline.reader.loaders import is_prepared
from pipeline.reader.order import Indices, epoch_order
from pipeline.reader.partition import REMAINDERS, Partition, Remainder, WorkerSlot
from pipeline.reader.processes import Ranks
from pipeline.reader.samples import COLUMNS, SAMPLE_TEXTS, Sample, SampleSpec, read_rows
from pipeline.reader.selection import (
    check_at_least,
    check_one_of,
    check_view,
    filters_from,
    names,
    split_named,
)
from pipeline.reader.shared_state import SharedState
from pipeline.reader.state import State
from pipeline.reader.versions import refuse_other_versions, with_versions
from pipeline.storage.formats.checked_bytes import num_pieces
from pipeline.storage.versions import Versions


class NoisePairDataset(IterableDataset[dict[str, Any]]):
    """The pairs of one split, each exactly once per epoch over all ranks and DataLoader workers.

    All sealed plans of a store form one data set, and each sample names its ``plan_id``. Two plans
    that share a prompt and a seed both have that ``sample_id``.

    A sample is a dictionary with ``plan_id``, ``sample_id``, ``prompt``, ``prompt_id`` (str),
    ``seed`` (int), ``source_noise`` and ``golden_noise`` (tensors (C, H, W) of ``dtype``; a source
    noise that is not stored is rebuilt from its seed), ``source_rewards`` and ``golden_rewards``
    (dict of float, NaN without a score), ``noise_stats`` (dict of float), ``judged`` (bool, False
    if the pair has no scores) and, if they are stored, ``source_image`` and ``golden_image`` (uint8
    tensors (H, W, 3)). With ``batch_size`` it is a batch: lists of str, tensors with a first
    dimension B, and tensors (B,) in place of numbers. Pass it to
    ``DataLoader(pairs, batch_size=None)``.

    Args:
        url: Store, or a list of ``Source`` to mix. An epoch draws weight·n of the n pairs of each
            source, evenly interleaved.
        split: "train", "validation" or "test".
        version: Version of the plan, as listed by ``npd status``. Default: the current one. With
            several plans, a mapping from plan ids to versions.
        unsigned: Read a public bucket without credentials.
        seed: Seed of the shuffle, which depends only on seed and epoch (``set_epoch``). None keeps
            the order of the data set.
        batch_size: Number of pairs in a batch. None returns samples.
        drop_last: Leave out the last batch of each rank if it is smaller.
        rank, world_size: Default: those of ``torch.distributed``, else RANK and WORLD_SIZE.
        remainder: Pairs that do not divide evenly among ranks. "drop" leaves them out, "repeat"
            repeats the first pairs of the epoch, "keep" gives the first ranks one more.
        plans, min_gain, prompt: Read only pairs of these plan ids, with at least this gain by
            reward, and whose prompt matches this regular expression.
        judged: True reads only pairs that were judged, False only the others. Default: both. A plan
            that judges a sample stores the other pairs without scores.
        columns: Columns to decode. Default: all.
        view: "preference" returns ``winner_noise``, ``loser_noise`` and ``reward_gap`` under
            ``reward`` instead of noises and scores, and leaves out pairs without that score.
        on_damage: "skip" leaves out damaged or missing shards with a warning, and lists them in
            ``damaged``. Ranks may then have different counts. A shard is checked completely before
            its first pair is returned, so that the result does not depend on the order.
        verify: Check each piece of a shard against its digest before its first use, once for all
            workers. Without it, damage of a cached copy is noticed only if its size differs or it
            cannot be parsed.
        cache: Cache of remote shards. Default: ``Cache.default()`` for S3, none for folders.
        shuffle_bytes: Size of the window of shards within which rows are mixed.
        prefetch: Number of shards to open ahead.

    Raises ``UserError`` if nothing is sealed at ``url`` or nothing passes the filters, and
    ``CacheError`` if the cache cannot be written.
    """

    def __init__(
        self,
        url: str | Sequence[Source],
        split: str = "train",
        *,
        version: Versions = None,
        unsigned: bool = False,
        seed: int | None = None,
        batch_size: int | None = None,
        drop_last: bool = False,
        rank: int | None = None,
        world_size: int | None = None,
        remainder: Remainder = "drop",
        plans: Sequence[str] | None = None,
        min_gain: Mapping[str, float] | None = None,
        prompt: str | None = None,
        judged: bool | None = None,
        dtype: torch.dtype = torch.float16,
        columns: Sequence[str] = COLUMNS,
        view: Literal["pair", "preference"] = "pair",
        reward: str | None = None,
        on_damage: Literal["raise", "skip"] = "raise",
        verify: bool = True,
        cache: Cache | None = None,
        shuffle_bytes: int = 2_000_000_000,
        prefetch: int = 4,
    ) -> None:
        super().__init__()
        check_one_of("remainder", remainder, REMAINDERS)
        check_one_of("on_damage", on_damage, ("raise", "skip"))
        check_at_least(1, batch_size=batch_size)
        check_at_least(0, seed=seed, shuffle_bytes=shuffle_bytes, prefetch=prefetch)
        check_view(view, reward)
        self._ranks = Ranks(rank, world_size)
        filters = filters_from(plans, min_gain, prompt, reward, judged=judged)
        sources = sources_of(url, version, unsigned=unsigned)
        self._catalog = read_catalog(sources, split_named(split), filters, cache)
        self._spec = SampleSpec(
            latent_shape=self._catalog.latent_shape,
            reward_names=self._catalog.reward_names,
            dtype=dtype,
            columns=names("columns", columns),
            reward=reward,
        )
        read = {
            "data": self._catalog.digest,
            "split": split,
            "filters": filters.described(),
            "seed": seed,
            "shuffle_bytes": None if seed is None else shuffle_bytes,
        }
        self._seed = seed
        self._batch_size = batch_size
        self._remainder = remainder
        self._drop_last = drop_last
        self._shuffle_bytes = shuffle_bytes
        self._shared = SharedState([num_pieces(ref.info) for ref in self._catalog.shards])
        self._access = ShardAccess(
            self._catalog,
            self._shared,
            cache,
            verify=verify,
            skips_damage=on_damage == "skip",
            window_bytes=shuffle_bytes,
            prefetch=prefetch,
        )
        self._cursor = Cursor(self._shared, read, self.num_samples)

    @property
    def num_samples(self) -> int:
        """Number of pairs in an epoch, over all ranks."""
        return self._catalog.num_samples

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one noise, without the batch dimension."""
        return self._catalog.latent_shape

    @property
    def reward_names(self) -> tuple[str, ...]:
        """Names of the rewards of all plans."""
        return self._catalog.reward_names

    @property
    def epoch(self) -> int:
        """Epoch that the next iteration reads."""
        return self._shared.epoch

    @property
    def damaged(self) -> tuple[str, ...]:
        """URLs of the shards that this process and its workers have skipped."""
        return tuple(self._catalog.shards[shard].url for shard in self._shared.damaged())

    def __len__(self) -> int:
        """Return the number of samples, or batches, of this rank in a complete epoch."""
        rank, partition = self._rank_and_partition()
        return partition.num_batches(self.num_samples, rank)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle with another epoch from the next iteration on, also in persistent workers."""
        check_at_least(0, epoch=epoch)
        if self._is_prepared() and self._cursor.is_unread and epoch != self.epoch:
            raise UserError(
                f"a loader that accelerate prepared starts epoch {epoch}, and this data set is at "
                f"epoch {self.epoch}: call loader.set_epoch({self.epoch}) before it begins"
            )
        self._cursor.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of the current iteration, after its last sample or batch.

        In a DataLoader worker it is that worker's part, which ``StatefulDataLoader`` gathers.
        Raises ``UserError`` if workers of a plain ``DataLoader`` read: they read ahead, and only
        the training loop can count. Use ``state_after`` then.
        """
        return with_versions(self._cursor.state_dict(), self._catalog)

    def state_after(self, batches: int) -> dict[str, Any]:
        """Return the state after each rank has used ``batches`` batches (or samples) of this epoch.

        For a plain ``DataLoader(pairs, batch_size=None, num_workers=…)``. The count starts where
        this epoch began or was resumed.
        """
        check_at_least(0, batches=batches)
        return with_versions(self._cursor.state_after(self._slot(), batches), self._catalog)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state, with any number of ranks and workers.

        ``state`` comes from ``state_dict``, ``state_after`` or a ``StatefulDataLoader``. Raises
        ``UserError`` for a state of other data, filters, split or seed. For another version of the
        same plans the error names it and how to read it.
        """
        refuse_other_versions(state, self._catalog)
        self._cursor.load(state, self._slot())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the samples or batches of this rank and worker that are left in the epoch."""
        # The position is set here and not at the first sample: a loader may ask for it before.
        self._is_prepared()
        try:
            slot = self._slot()
            start = self._cursor.begin(slot)
        except UserError as error:
            if not self._cursor.continues_in_worker:
                raise
            # An error that ``iter`` raises when a persistent worker starts another epoch would kill
            # the worker. An error of the first sample reaches the training process.
            return _raising(error)
        return self._samples(*self._access.locate(self._rows(start, slot)), slot)

    def _samples(self, shards: Indices, places: Indices, slot: WorkerSlot) -> Iterator[Sample]:
        self._access.set_prefetch_order(shards)
        size = slot.deal.batch_size
        # Reading ahead would compete with the first batch for the processor and the network, so it
        # starts after the first batch. In a worker it starts after the second, because the first
        # one is still being sent by a thread while the second is made.
        unhurried = 0 if get_worker_info() is None else size
        for first in range(0, len(shards), size):
            part = slice(first, first + size)
            rows = self._access.rows(shards[part].tolist(), places[part].tolist())
            # Count the batch before it is handed over. While the training loop uses it, this
            # generator waits in ``yield``, and a state taken then must include the batch. A batch
            # whose rows are all skipped counts too, so that ranks and workers stay in step.
            self._cursor.advance()
            if rows:
                yield read_rows(rows, self._spec, batched=self._batch_size is not None)
            if first >= unhurried:
                self._access.look_ahead()

    def _rows(self, start: State, slot: WorkerSlot) -> Indices:
        """Return the rows of this slot in order, counted through all shards."""
        pools = self._catalog.pools
        owners, drawn = epoch_order(pools, self._seed, start.epoch, self._shuffle_bytes)
        total = len(drawn)
        remaining = start.progress.remaining(total)
        rank, partition = self._rank_and_partition()
        places = slot.places(partition.places(len(remaining), rank), start.taken)
        # With remainder="repeat", places after the last row repeat the first rows of the epoch.
        filled = np.arange(partition.world_size) % max(total, 1)
        order = np.concatenate([remaining, filled])[places]
        return self._catalog.row_numbers(owners[order], drawn[order])

    def _is_prepared(self) -> bool:
        """Return True under a loader that accelerate prepared. It is also checked."""
        return is_prepared(
            self,
            self._ranks,
            with_texts=any(name in SAMPLE_TEXTS for name in self._spec.columns),
            returns_samples=self._batch_size is None,
        )

    def _slot(self) -> WorkerSlot:
        _, partition = self._rank_and_partition()
        info = get_worker_info()
        if info is None:
            return WorkerSlot(deal=partition)
        return WorkerSlot(deal=partition, num_workers=info.num_workers, worker=info.id)

    def _rank_and_partition(self) -> tuple[int, Partition]:
        rank, world_size = self._ranks.here()
        return rank, Partition(
            world_size=world_size,
            batch_size=self._batch_size or 1,
            remainder=self._remainder,
            drop_last=self._drop_last,
        )


def _raising(error: UserError) -> Iterator[Sample]:
    raise error
    yield
