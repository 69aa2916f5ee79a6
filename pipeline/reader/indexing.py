"""Conversion of an index to row numbers, with the rules of numpy."""

from operator import index
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from pipeline.reader.order import Indices

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
    return IndexError(f"{kind} is no index of rows: {_ALLOWED}")
