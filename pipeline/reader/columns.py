"""The pairs of one shard by column: noises as views of the file, the small columns decoded once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.reader.checked import CheckedBytes
from pipeline.storage.schema import Noise

Scores = Mapping[str, npt.NDArray[np.float32]]
"""By name one number a row; NaN where there is none."""

TEXTS = ("sample_id", "prompt", "prompt_id")
NUMBERS = ("source_rewards", "golden_rewards", "noise_stats")
IMAGES = ("source_image", "golden_image")

UNREADABLE = (pa.ArrowException, OSError, LookupError, TypeError, ValueError)
"""What reading raises where the bytes are as promised and make no sense. pyarrow raises ``OSError``
for a broken compression."""


@dataclass(frozen=True, kw_only=True)
class PairColumns:
    """All pairs of a shard; a pair is a row of every column.

    Noises and images raise ``VerificationError`` where their bytes are not as promised.
    """

    @property
    def num_pairs(self) -> int:
        """Rows of every column."""
        return len(self.seeds)

    plan_id: str
    content: CheckedBytes
    texts: Mapping[str, Sequence[str]]
    """Those of ``TEXTS``."""
    seeds: npt.NDArray[np.int64]
    source_noise: Callable[[int], Noise] | None
    """By row; flat, read only. None where it is to be rebuilt from the seeds."""
    golden_noise: Callable[[int], Noise]
    """By row; flat, read only."""
    numbers: Mapping[str, Scores]
    """Those of ``NUMBERS``."""
    images: Mapping[str, Callable[[int], bytes]]
    """Encoded pictures by row, of those of ``IMAGES`` that are stored."""
