"""Sealed data sets as a torch ``IterableDataset``."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from pipeline.errors import UserError
from pipeline.reader.access import ShardAccess
from pipeline.reader.arguments import check_at_least, check_one_of, names, split_named
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source, read_catalog, sources_of
from pipeline.reader.checked import num_pieces
from pipeline.reader.cursor import Cursor
from pipeline.reader.filters import Filters
from pipeline.reader.order import Indices, epoch_order
from pipeline.reader.preference import as_preference, preference_columns
from pipeline.reader.prepared import check_prepared, prepared_loader
from pipeline.reader.ranks import Ranks
from pipeline.reader.samples import COLUMNS, TEXTS, Row, Sample, SampleSpec, to_batch, to_sample
from pipeline.reader.shared import SharedState
from pipeline.reader.shared_memory_batch import SharedMemoryBatch
from pipeline.reader.slots import REMAINDERS, Partition, Remainder
from pipeline.reader.state import State, WorkerSlot
from pipeline.reader.versions import VERSIONS, refuse_other_versions, versions_of
from pipeline.storage.versions import Versions


class NoisePairDataset(IterableDataset[dict[str, Any]]):
    """The pairs of one split, each exactly once an epoch over all ranks and DataLoader workers.

    All sealed plans of a store are one data set, plan after plan; ``plan_id`` (str) tells which one
    made a sample, and where two plans share a prompt and a seed both have its ``sample_id``.

    A sample is a dictionary: ``plan_id``, ``sample_id``, ``prompt``, ``prompt_id`` (str),
    ``seed`` (int), ``source_noise`` and ``golden_noise`` (tensors (C, H, W) of ``dtype``; the
    source noise is rebuilt from its seed where it is not stored), ``source_rewards`` and
    ``golden_rewards`` (dict of float, NaN where there is no score), ``noise_stats`` (dict of
    float), and, where they are stored, ``source_image`` and ``golden_image`` (uint8 tensors
    (H, W, 3)). With ``batch_size`` it is a batch: lists of str, tensors with a first dimension B,
    and float32 (B,) in place of float; give it to ``DataLoader(pairs, batch_size=None)``.

    url: of a store, or ``Source``s that are mixed: an epoch draws weight·n of the n pairs of each
        (whole passes, then a part of one), evenly interleaved.
    version: which version of the plan is read, as ``npd status`` lists them; by default the
        current one, which `npd select` changes. With several plans, a mapping from plan ids to
        versions; plans that it does not name are read at their current version.
    unsigned: read a public bucket without credentials.
    seed: of the shuffle, which is a function of seed and epoch (``set_epoch``) alone; None keeps
        the order of the data set. See ``shuffle_bytes``.
    batch_size: pairs in a batch; None gives samples.
    drop_last: leave out each rank's last batch if it is smaller.
    rank, world_size: of this process; by default those of ``torch.distributed`` or of the
        environment's RANK and WORLD_SIZE.
    remainder: what becomes of pairs that do not go round: "drop" leaves out fewer than
        ``world_size``, "repeat" fills up with the epoch's first, so that ranks have equally many
        either way; "keep" gives the first ranks one more.
    plans, min_gain, prompt: read only pairs of these plan ids, whose golden score exceeds the
        source's by at least so much (by reward), in whose prompt the regular expression is found.
    columns: what is decoded, all by default.
    view: "preference" gives ``winner_noise``, ``loser_noise`` and ``reward_gap`` under ``reward``
        in place of noises and scores, and leaves out pairs without that score.
    on_damage: "skip" leaves out shards that are damaged or missing, with a warning; ``damaged``
        names them. Ranks may then have different counts. A shard is then checked whole before any
        of its pairs is given, so that what is left out does not depend on the order.
    verify: check each piece of a shard against its digest before anything of it is used, once for
        all workers. Without it, damage in a copy of the cache is only seen in its size and where
        it cannot be parsed.
    cache: where copies of remote shards are kept; by default ``Cache.default()`` for S3, and none
        for folders. Complete copies are also read where the folder cannot be written; a copy that
        is missing there raises ``CacheError``.
    shuffle_bytes: shards among which rows are mixed, and which are mapped at once; see ``order``.
    prefetch: shards to open ahead.

    Raises ``UserError`` if nothing is sealed at ``url``, or nothing passes the filters.
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
        check_one_of("view", view, ("pair", "preference"))
        check_one_of("on_damage", on_damage, ("raise", "skip"))
        check_at_least("batch_size", batch_size, 1)
        check_at_least("seed", seed, 0)
        check_at_least("shuffle_bytes", shuffle_bytes, 0)
        check_at_least("prefetch", prefetch, 0)
        if (view == "preference") != (reward is not None):
            raise UserError('view="preference" and reward=… go together: it needs one to prefer by')
        self._ranks = Ranks(rank, world_size)
        filters = Filters(
            plans=None if plans is None else names("plans", plans),
            min_gain=min_gain or {},
            prompt=prompt,
            scored=() if reward is None else (reward,),
        )
        columns = names("columns", columns)
        sources = sources_of(url, version, unsigned=unsigned)
        self._catalog = read_catalog(sources, split_named(split), filters, cache)
        self._form = SampleSpec(
            latent_shape=self._catalog.latent_shape,
            reward_names=self._catalog.reward_names,
            dtype=dtype,
            columns=columns if reward is None else preference_columns(columns),
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
        self._reward = reward
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
        """Pairs of an epoch, over all ranks."""
        return self._catalog.num_samples

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Of one noise, without the batch dimension."""
        return self._catalog.latent_shape

    @property
    def reward_names(self) -> tuple[str, ...]:
        """Rewards of all plans."""
        return self._catalog.reward_names

    @property
    def epoch(self) -> int:
        """The epoch that the next iteration reads."""
        return self._shared.epoch

    @property
    def damaged(self) -> tuple[str, ...]:
        """URLs of shards that were skipped so far, in this process and in its workers."""
        return tuple(self._catalog.shards[shard].url for shard in self._shared.damaged())

    def __len__(self) -> int:
        """Samples, or batches, of this rank in a whole epoch."""
        rank, deal = self._rank_and_deal()
        return deal.num_batches(self.num_samples, rank)

    def set_epoch(self, epoch: int) -> None:
        """Shuffle anew from the next iteration on; reaches workers that live on too."""
        check_at_least("epoch", epoch, 0)
        if self._is_prepared() and self._cursor.is_unread and epoch != self.epoch:
            raise UserError(
                f"a loader that accelerate prepared begins epoch {epoch}, and this data set stands "
                f"at epoch {self.epoch}: call loader.set_epoch({self.epoch}) before it begins"
            )
        self._cursor.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Where the last iteration is, after what it gave last.

        In a DataLoader worker it is that worker's part: torchdata's ``StatefulDataLoader`` gathers
        them. A plain ``DataLoader`` with workers reads ahead and tells nobody how far: then this
        raises ``UserError``, and ``state_after`` counts instead.
        """
        return self._with_versions(self._cursor.state_dict())

    def state_after(self, batches: int) -> dict[str, Any]:
        """The state once each rank has been given so many batches (or samples) of this epoch.

        For a plain ``DataLoader(pairs, batch_size=None, num_workers=…)``, which gives them in
        order. They count from where this epoch began or was resumed.
        """
        check_at_least("batches", batches, 0)
        return self._with_versions(self._cursor.state_after(self._slot(), batches))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from a state of this data set, with any number of ranks and workers.

        ``state`` is what ``state_dict`` gave, or that of a whole ``StatefulDataLoader``. Raises
        ``UserError`` for a state of other data, filters, split or seed. Where the data are another
        version of the same plans, the error says which one, and how to read it.
        """
        refuse_other_versions(state, self._catalog)
        self._cursor.load(state, self._slot())

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Samples or batches of this rank and worker; after ``load_state_dict``, what is left."""
        # Set up at once, and not at the first sample: a loader may ask for the state before it.
        self._is_prepared()
        try:
            slot = self._slot()
            start = self._cursor.begin(slot)
        except UserError as error:
            if not self._cursor.continues_in_worker:
                raise
            # What ``iter`` raises when a persistent worker begins another epoch would kill the
            # worker; what the first sample raises is passed on.
            return _raising(error)
        return self._samples(*self._access.locate(self._rows(start, slot)), slot)

    def _with_versions(self, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, VERSIONS: versions_of(self._catalog)}

    def _samples(self, shards: Indices, places: Indices, slot: WorkerSlot) -> Iterator[Sample]:
        self._access.set_prefetch_order(shards)
        size = slot.deal.batch_size
        # Until a first batch is used, it has the processor to itself: from a worker it is still on
        # its way while the second is made.
        unhurried = 0 if get_worker_info() is None else size
        for first in range(0, len(shards), size):
            part = slice(first, first + size)
            rows = self._access.rows(shards[part].tolist(), places[part].tolist())
            self._cursor.advance()
            if rows:
                yield self._given(rows)
            if first >= unhurried:
                self._access.look_ahead()

    def _given(self, rows: list[Row]) -> Sample:
        is_worker = get_worker_info() is not None
        if self._batch_size is None:
            sample = to_sample(rows[0], self._form)
        else:
            sample = to_batch(rows, self._form, shared=is_worker)
        if self._reward is not None:
            sample = as_preference(sample, self._reward)
        return SharedMemoryBatch(sample) if is_worker else sample

    def _rows(self, start: State, slot: WorkerSlot) -> Indices:
        """The rows of this slot in their order, counted through all shards."""
        pools = self._catalog.pools
        owners, drawn = epoch_order(pools, self._seed, start.epoch, self._shuffle_bytes)
        total = len(drawn)
        remaining = start.progress.remaining(total)
        rank, deal = self._rank_and_deal()
        places = deal.places(len(remaining), rank)
        if slot.num_workers > 1 or start.taken:
            batches = np.arange(len(places)) // deal.batch_size
            turn, worker = np.divmod(batches, slot.num_workers)
            places = places[(worker == slot.worker) & (turn >= start.taken)]
        # Places behind the last one are filled up from the start of the epoch.
        filled = np.arange(deal.world_size) % max(total, 1)
        order = np.concatenate([remaining, filled])[places]
        return self._catalog.row_numbers(owners[order], drawn[order])

    def _is_prepared(self) -> bool:
        """Whether accelerate reads this. Raises ``UserError`` where it would read wrongly."""
        loader = prepared_loader(self)
        if loader is not None:
            with_texts = any(name in TEXTS for name in self._form.columns)
            check_prepared(
                loader,
                self._ranks.here()[1],
                with_texts=with_texts,
                gives_samples=self._batch_size is None,
            )
        return loader is not None

    def _slot(self) -> WorkerSlot:
        _, deal = self._rank_and_deal()
        info = get_worker_info()
        if info is None:
            return WorkerSlot(deal=deal)
        return WorkerSlot(deal=deal, num_workers=info.num_workers, worker=info.id)

    def _rank_and_deal(self) -> tuple[int, Partition]:
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
