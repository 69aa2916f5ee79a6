"""Columns of one shard: noises are views of the file, small columns are decoded once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.storage.formats.checked_bytes import CheckedBytes
from pipeline.storage.schema import Noise

Scores = Mapping[str, npt.NDArray[np.float32]]
"""Maps each name to a float32 array of shape (rows,). Missing numbers are NaN."""

TEXTS = ("sample_id", "prompt", "prompt_id")
NUMBERS = ("source_rewards", "golden_rewards", "noise_stats")
IMAGES = ("source_image", "golden_image")

UNREADABLE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError)
"""Errors of parsing a shard whose bytes match their digest. pyarrow raises ``OSError`` for invalid
compressed data."""


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """All pairs of a shard by column. Row i of every column belongs to pair i.

    Access to a noise or an image raises ``VerificationError`` if its bytes are damaged.
    """

    @property
    def num_pairs(self) -> int:
        """Number of pairs in the shard."""
        return len(self.seeds)

    plan_id: str
    content: CheckedBytes
    texts: Mapping[str, Sequence[str]]
    """Maps each name in ``TEXTS`` to one text per row."""
    seeds: npt.NDArray[np.int64]
    source_noise: Callable[[int], Noise] | None
    """Maps a row to its flat, read-only noise. None if noises are rebuilt from the seeds."""
    golden_noise: Callable[[int], Noise]
    """Maps a row to its flat, read-only noise."""
    numbers: Mapping[str, Scores]
    """Maps each name in ``NUMBERS`` to its scores."""
    images: Mapping[str, Callable[[int], bytes]]
    """Maps each stored name in ``IMAGES`` to a function from a row to its encoded picture."""
