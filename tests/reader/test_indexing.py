"""Indexing of a table, compared with numpy's indexing of its row numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.utils.data import DataLoader, Subset

from pipeline.core.errors import UserError
from pipeline.reader import NoisePairDataset, NoisePairTable
from tests.reader.conftest import COUNT

_ENDS = st.none() | st.integers(-COUNT - 3, COUNT + 3)
_ROW = st.integers(-COUNT, COUNT - 1)
_OUTSIDE = st.integers(-COUNT - 2, COUNT + 1)
_INTEGERS = (np.int16, np.int32, np.int64)
_MASK = st.lists(st.booleans(), min_size=COUNT, max_size=COUNT)


def _arrays(values: list[int], kind: int) -> Any:
    if kind < len(_INTEGERS):
        return np.array(values, _INTEGERS[kind])
    return [values, torch.tensor(values, dtype=torch.int64)][kind - len(_INTEGERS)]


_KEYS = st.one_of(
    _OUTSIDE,
    st.builds(np.int64, _OUTSIDE),
    st.builds(np.array, _OUTSIDE),
    st.builds(torch.tensor, _OUTSIDE),
    st.builds(slice, _ENDS, _ENDS, st.sampled_from([None, -9, -2, -1, 1, 2, 50])),
    st.builds(_arrays, st.lists(_ROW, max_size=5), st.integers(0, 4)),
    st.builds(_arrays, st.lists(_OUTSIDE, min_size=1, max_size=3), st.integers(0, 4)),
    _MASK,
    st.builds(np.array, _MASK),
    st.builds(torch.tensor, _MASK),
    st.builds(np.array, st.lists(st.booleans(), max_size=COUNT + 2)),
    st.builds(np.array, st.lists(st.floats(), min_size=1, max_size=3)),
    st.lists(st.floats(0, 9), min_size=1, max_size=2),
    st.floats(0, 9),
)


@pytest.fixture(scope="module")
def table(pairs_folder: Path) -> NoisePairTable:
    return NoisePairTable(str(pairs_folder), columns=("sample_id",))


@pytest.fixture(scope="module")
def ids(pairs_folder: Path) -> np.ndarray[tuple[int], Any]:
    dataset = NoisePairDataset(str(pairs_folder), columns=("sample_id",))
    return np.array([sample["sample_id"] for sample in dataset])


@given(key=_KEYS)
@example(key=np.arange(COUNT) % 2 == 0)
@example(key=np.zeros(COUNT, bool))
@example(key=torch.arange(3, dtype=torch.int32))
@example(key=np.arange(200, 203, dtype=np.uint8))
@example(key=[True, 2])
@example(key=[[1, 2], [3, 4]])
@example(key=[[1], [2, 3]])
@example(key=[2**70])
@example(key=[torch.tensor(3), torch.tensor(-4)])
@example(key=["0", "1"])
@example(key=range(5, 2, -1))
@example(key=(4, 1))
@example(key=torch.tensor([1.9], dtype=torch.bfloat16))
@example(key=torch.tensor([3]))
@example(key={1, 2})
def test_table_is_indexed_like_numpy(
    key: Any, table: NoisePairTable, ids: np.ndarray[tuple[int], Any]
) -> None:
    try:
        wanted = ids[_as_numpy(key)]
    except (IndexError, ValueError):  # numpy raises ValueError for lists of several lengths
        with pytest.raises(IndexError):
            table[key]
        return
    if np.ndim(wanted) > 1:
        with pytest.raises(IndexError, match="not an index of rows"):
            table[key]
    elif np.ndim(wanted) == 1 and not len(wanted):
        with pytest.raises(UserError, match="a batch has at least one row"):
            table[key]
    else:
        assert np.array_equal(table[key]["sample_id"], wanted)


def _as_numpy(key: Any) -> Any:
    """Convert a tensor. numpy treats a single element as a number, and it has no bfloat16."""
    if not isinstance(key, torch.Tensor):
        return key
    return (key.float() if key.dtype is torch.bfloat16 else key).numpy()


@pytest.mark.parametrize("key", [True, np.False_, torch.tensor(True), None, ..., (4,), ([1, 2],)])
def test_table_refuses_keys_that_change_dimensions(key: Any, table: NoisePairTable) -> None:
    with pytest.raises(IndexError, match="not an index of rows"):
        table[key]


def test_table_refuses_uint8_tensors(table: NoisePairTable) -> None:
    with pytest.raises(IndexError, match=r"\.bool\(\) or \.long\(\)"):
        table[torch.ones(COUNT, dtype=torch.uint8)]


@pytest.mark.parametrize("rows", [np.arange(8), torch.arange(8), [5, -1], range(3)])
def test_table_as_a_subset_gives_those_rows(
    rows: Any, table: NoisePairTable, ids: np.ndarray[tuple[int], Any]
) -> None:
    wanted = [ids[int(row)] for row in rows]
    subset = Subset(table, rows)
    assert [subset[number]["sample_id"] for number in range(len(rows))] == wanted
    loader = DataLoader(subset, batch_size=3)
    assert [name for batch in loader for name in batch["sample_id"]] == wanted
