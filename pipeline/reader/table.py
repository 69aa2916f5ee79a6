"""Random access to the pairs of a sealed data set, with the indexing rules of numpy."""

from collections.abc import Iterator, Mapping, Sequence
from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from pipeline.core.errors import UserError
from pipeline.reader.access import ShardAccess
from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source, read_catalog
from pipeline.reader.order import Indices
from pipeline.reader.samples import COLUMNS, Row, SampleSpec, to_batch, to_sample
from pipeline.reader.selection import filters_from, names, split_named
from pipeline.reader.shared_state import SharedState
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
        judged: bool | None = None,
        dtype: torch.dtype = torch.float16,
        columns: Sequence[str] = COLUMNS,
        verify: bool = True,
        cache: Cache | None = None,
        mapped_bytes: int = 64_000_000_000,
    ) -> None:
        filters = filters_from(plans, min_gain, prompt, judged=judged)
        self._catalog = read_catalog(
            [Source(url, version=version, unsigned=unsigned)], split_named(split), filters, cache
        )
        self._spec = SampleSpec(
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
            return to_sample(self._located(np.array([rows]))[0], self._spec)
        if not len(rows):
            raise UserError("a batch has at least one row: ask for one or more")
        return to_batch(self._located(rows), self._spec, shared=False)

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
                rows_by_id.setdefault(columns.sample_ids[place], []).append(row)
            self._rows_by_id = rows_by_id
        return self._rows_by_id

    def _located(self, rows: Indices) -> list[Row]:
        numbers = self._catalog.row_numbers(np.zeros_like(rows), rows)
        shards, places = self._access.locate(numbers)
        return self._access.rows(shards.tolist(), places.tolist())


_ALLOWED = "give an integer, a slice, or one list, array or tensor of integers or of booleans"


def rows_at(key: Any, count: int) -> int | Indices:
    """Return the row, or the array of rows, that ``np.arange(count)[key]`` gives.

    ``key`` is an integer of any type, a slice, or a list, array or tensor. Lists, arrays and
    tensors hold integers, or ``count`` booleans as a mask. Raises ``IndexError`` for keys that
    numpy rejects and for keys that change the number of dimensions in numpy, such as a single
    boolean or a tuple.
    """
    if isinstance(key, slice):
        return np.arange(*key.indices(count), dtype=np.int64)
    if _is_integer(key):
        return _inside(index(key), count)
    array = _as_array(key)
    if array.dtype == bool and array.ndim == 1:
        if len(array) != count:
            raise IndexError(f"a mask of {len(array)} booleans for {count} rows")
        return np.flatnonzero(array)
    if not np.issubdtype(array.dtype, np.integer) or array.ndim > 1:
        raise _refused(key)
    if array.ndim == 0:
        return _inside(int(array), count)
    return np.array([_inside(row, count) for row in array.tolist()], np.int64)


def _is_integer(key: Any) -> bool:
    """Return True for a single integer. Arrays and tensors of one element are not integers."""
    if isinstance(key, bool | np.bool_ | np.ndarray | torch.Tensor):
        return False
    return hasattr(key, "__index__")


def _as_array(key: Any) -> npt.NDArray[Any]:
    if isinstance(key, torch.Tensor):
        if key.dtype is torch.uint8:
            raise IndexError(
                "a tensor of uint8 is a mask to torch and row numbers to numpy; "
                "convert it with .bool() or .long()"
            )
        if key.is_floating_point() or key.is_complex():
            raise _refused(key)
        return np.asarray(key.cpu())
    if key is None or isinstance(key, tuple):
        raise _refused(key)
    if isinstance(key, list) and not key:
        # numpy accepts an empty list as an index, but converts it to a float array.
        return np.empty(0, np.int64)
    try:
        return np.asarray(key)
    except ValueError as error:  # lists of several lengths
        raise _refused(key) from error


def _inside(row: int, count: int) -> int:
    if not -count <= row < count:
        raise IndexError(f"row {row} of {count}")
    return row % count


def _refused(key: Any) -> IndexError:
    kind = type(key).__name__
    if isinstance(key, np.ndarray | torch.Tensor):
        kind += f" of shape {tuple(key.shape)} and {key.dtype}"
    return IndexError(f"{kind} is not an index of rows: {_ALLOWED}")
