"""Scores of all candidates of a plan, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.evaluate.statistics import Values
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.promised import get_promised

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Scores of n candidates in the plan's order: the seeds of a prompt are adjacent.

    Every array has the shape (n,).
    """

    prompt_ids: npt.NDArray[np.str_]
    kept: Mask
    """True if the candidate was kept."""
    source: Mapping[str, Values]
    """Maps each reward's name to the scores of the source images; NaN if there is no score."""
    golden: Mapping[str, Values]
    """Maps each reward's name to the scores of the golden images; NaN if there is no score."""
    std: Values
    """Standard deviation of each golden noise."""
    kurtosis: Values
    """Excess kurtosis of each golden noise."""
    proposal: npt.NDArray[np.str_] | None = None
    """Name of each golden noise; empty if none was made. None before schema version 3."""
    evaluations: Values | None = None
    """Number of forward evaluations of each candidate. None before schema version 3."""

    def judged(self) -> Mask:
        """Return True for each candidate that has a score under every reward, for both images."""
        columns = [*self.source.values(), *self.golden.values()]
        return np.asarray(np.isfinite(np.stack(columns)).all(axis=0))


def read_scores(store: ObjectStore, manifest: Manifest) -> Scores:
    """Read the scores of all candidates from a plan's ledger.

    Raises ``VerificationError`` if the ledger does not match the digest in the manifest.
    """
    table = pq.read_table(pa.BufferReader(get_promised(store, manifest.ledger)))
    # Ledgers before schema version 3 have neither of the last two columns.
    is_older = "proposal" not in table.column_names
    return Scores(
        prompt_ids=np.array(table["prompt_id"].to_pylist()),
        kept=np.array([status == "kept" for status in table["status"].to_pylist()]),
        source=_fields(table["source_rewards"]),
        golden=_fields(table["golden_rewards"]),
        std=_fields(table["noise_stats"])["std"],
        kurtosis=_fields(table["noise_stats"])["kurtosis"],
        proposal=None if is_older else np.array([n or "" for n in table["proposal"].to_pylist()]),
        evaluations=None if is_older else table["forward_evaluations"].to_numpy().astype(float),
    )


def _fields(column: pa.ChunkedArray) -> dict[str, Values]:
    names = [field.name for field in column.type]
    rows = column.to_pylist()
    return {name: np.array([_value(row, name) for row in rows], dtype=np.float64) for name in names}


def _value(row: Mapping[str, float | None] | None, name: str) -> float:
    value = None if row is None else row[name]
    return float("nan") if value is None else value
