"""Scores of all candidates of a plan, as arrays."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.evaluate.compare import Mask, Names, Values
from pipeline.stages.select import is_within_gate
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealed_files import read_ledger


@dataclass(frozen=True, kw_only=True)
class ScoreTable:
    """Scores of n candidates in the plan's order: the seeds of a prompt are adjacent.

    Every array has the shape (n,).
    """

    sample_ids: Names
    prompt_ids: Names
    splits: Names
    """Name of each candidate's split."""
    kept: Mask
    """True if the candidate was kept."""
    in_shards: Mask
    """True if the pair is in the shards, which hold the pairs of a split in the same order."""
    sampled: Mask
    """True if the candidate is in the sample that is judged; usually all are."""
    within_gate: Mask
    """True if the golden noise is within the gate, whatever its image scores."""
    source: Mapping[str, Values]
    """Maps each reward's name to the scores of the source images; NaN if there is no score."""
    golden: Mapping[str, Values]
    """Maps each reward's name to the scores of the golden images; NaN if there is no score."""
    noise_stats: Mapping[str, Values]
    """Maps each field of ``NoiseStats`` to its values; NaN if there is no golden noise."""
    proposal: Names | None = None
    """Name of each golden noise; empty if none was made. None before schema version 3."""
    evaluations: Values | None = None
    """Number of forward evaluations of each candidate. None before schema version 3."""

    @property
    def std(self) -> Values:
        """Standard deviation of each golden noise."""
        return self.noise_stats["std"]

    @property
    def kurtosis(self) -> Values:
        """Excess kurtosis of each golden noise."""
        return self.noise_stats["kurtosis"]

    def judged(self) -> Mask:
        """Return True for each candidate that has a score under every reward, for both images."""
        columns = [*self.source.values(), *self.golden.values()]
        return np.asarray(np.isfinite(np.stack(columns)).all(axis=0))


def read_scores(store: ObjectStore, manifest: Manifest) -> ScoreTable:
    """Read the scores of all candidates from a plan's ledger.

    Raises ``VerificationError`` if the ledger does not match the digest in the manifest.
    """
    ledger = read_ledger(store, manifest)
    proposals, evaluations = ledger.proposals(), ledger.forward_evaluations()
    return ScoreTable(
        sample_ids=np.array(ledger.sample_ids()),
        prompt_ids=np.array(ledger.prompt_ids()),
        splits=np.array(ledger.splits()),
        kept=ledger.kept(),
        in_shards=ledger.in_shards(),
        sampled=ledger.judged(),
        within_gate=np.array([is_within_gate(*each) for each in ledger.outcomes()], bool),
        source={name: values.astype(float) for name, values in ledger.source_rewards().items()},
        golden={name: values.astype(float) for name, values in ledger.golden_rewards().items()},
        noise_stats={name: np.array(values) for name, values in ledger.noise_stats().items()},
        proposal=None if proposals is None else np.array([name or "" for name in proposals]),
        evaluations=None if evaluations is None else evaluations.astype(float),
    )
