"""Random access to the pairs of a sealed data set."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from pipeline.errors import UserError
from pipeline.reader.access import ShardAccess
from pipeline.reader.arguments import names, split_named
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source, read_catalog
from pipeline.reader.filters import Filters
from pipeline.reader.indexing import rows_at
from pipeline.reader.order import Indices
from pipeline.reader.samples import COLUMNS, Row, SampleSpec, to_batch, to_sample
from pipeline.reader.shared import SharedState
from pipeline.storage.formats.checked_bytes import num_pieces
from pipeline.storage.versions import Versions


class NoisePairTable(Dataset[dict[str, Any]]):
    """Memory-mapped random access to the pairs of one split, by row or by ``sample_id``.

    ``table[7]`` and ``table["<sample_id>"]`` return a sample. ``table[2:9]``, ``table[[4, 1]]`` and
    ``table[mask]`` return a batch. Samples and batches have the format of ``NoisePairDataset``.
    Rows are in the data set's order and are indexed like the rows of a numpy array. The filters and
    the other arguments are those of ``NoisePairDataset``.

    Only the requested rows are read. A shard on S3 is downloaded into the cache when one of its
    rows is first requested. The table can be passed to a ``DataLoader`` with a sampler.

    Raises ``UserError`` for the same reasons as ``NoisePairDataset``.
    """

    def __init__(
        self,
        url: str,
        split: str = "train",
        *,
        version: Versions = None,
        unsigned: bool = False,
        plans: Sequence[str] | None = None,
        min_gain: Mapping[str, float] | None = None,
        prompt: str | None = None,
        dtype: torch.dtype = torch.float16,
        columns: Sequence[str] = COLUMNS,
        verify: bool = True,
        cache: Cache | None = None,
        mapped_bytes: int = 64_000_000_000,
    ) -> None:
        filters = Filters(
            plans=None if plans is None else names("plans", plans),
            min_gain=min_gain or {},
            prompt=prompt,
        )
        self._catalog = read_catalog(
            [Source(url, version=version, unsigned=unsigned)], split_named(split), filters, cache
        )
        self._form = SampleSpec(
            latent_shape=self._catalog.latent_shape,
            reward_names=self._catalog.reward_names,
            dtype=dtype,
            columns=names("columns", columns),
        )
        self._access = ShardAccess(
            self._catalog,
            SharedState([num_pieces(ref.info) for ref in self._catalog.shards]),
            cache,
            verify=verify,
            skips_damage=False,
            window_bytes=mapped_bytes,
            prefetch=0,
        )
        self._rows_by_id: dict[str, list[int]] | None = None

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Shape of one noise, without the batch dimension."""
        return self._catalog.latent_shape

    def __len__(self) -> int:
        return self._catalog.num_samples

    def __getitem__(self, key: Any) -> dict[str, Any]:
        """Return a sample by row or ``sample_id``, or a batch by slice, row numbers or mask.

        ``rows_at`` lists the accepted keys. Raises ``IndexError`` for an invalid or missing row,
        ``KeyError`` for an unknown ``sample_id``, and ``UserError`` for an empty selection.
        """
        rows = self.row_of(key) if isinstance(key, str) else rows_at(key, len(self))
        if isinstance(rows, int):
            return to_sample(self._located(np.array([rows]))[0], self._form)
        if not len(rows):
            raise UserError("no rows are no batch: ask for one or more")
        return to_batch(self._located(rows), self._form, shared=False)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def row_of(self, sample_id: str) -> int:
        """Return the row of a ``sample_id``. The first call opens all shards to index the ids.

        Raises ``KeyError`` for an unknown id and ``UserError`` if several plans have the id.
        """
        rows = self._ids().get(sample_id)
        if rows is None:
            raise KeyError(sample_id)
        if len(rows) > 1:
            raise UserError(f"{sample_id} is in rows {rows}, of several plans: choose with plans=")
        return rows[0]

    def _ids(self) -> dict[str, list[int]]:
        if self._rows_by_id is None:
            rows_by_id: dict[str, list[int]] = {}
            located = self._located(np.arange(len(self)))
            for row, (columns, place) in enumerate(located):
                rows_by_id.setdefault(columns.texts["sample_id"][place], []).append(row)
            self._rows_by_id = rows_by_id
        return self._rows_by_id

    def _located(self, rows: Indices) -> list[Row]:
        numbers = self._catalog.row_numbers(np.zeros_like(rows), rows)
        shards, places = self._access.locate(numbers)
        return self._access.rows(shards.tolist(), places.tolist())
