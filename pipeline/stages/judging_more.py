"""Judging of a larger sample, from the golden noises that an earlier plan has stored."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.core.errors import VerificationError
from pipeline.core.identity import is_sampled
from pipeline.core.records import Outcome, Status
from pipeline.stages.batch import Models
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.judging import GivenNoise, MadeNoise, UnitInputs, batches, judge_batch
from pipeline.stages.packing import Packing
from pipeline.stages.results import Results
from pipeline.stages.stage_clock import StageClock
from pipeline.storage.formats.pairs import NoisePair


@dataclass(frozen=True, kw_only=True)
class EarlierUnit:
    """A unit as an earlier plan computed it, with a smaller sample."""

    outcomes: Sequence[Outcome]
    """Outcome of each row."""
    pairs: Mapping[str, NoisePair]
    """Maps sample ids to the stored pairs."""

    def made(self, row: int) -> MadeNoise:
        """Return the golden noise of a row that is stored without being judged."""
        outcome = self.outcomes[row]
        golden = torch.from_numpy(np.array(self.pairs[outcome.sample_id].golden_noise))
        assert outcome.proposal is not None, "version 4 has the name of each golden noise"
        return MadeNoise(
            name=outcome.proposal,
            # The source noise is drawn again where the image is sampled.
            source_noise=golden,
            golden_noise=golden,
            # Only a golden noise that converged is stored without being judged.
            converged=True,
            forward_evaluations=outcome.forward_evaluations,
        )


def judge_more(
    unit: UnitInputs, models: Models, spec: BuildSpec, clock: StageClock, *, earlier: EarlierUnit
) -> Iterator[Packing]:
    """Sample and score the images of candidates that an earlier plan has stored without scores.

    Nothing is proposed again. All other outcomes stay. A candidate of the larger sample whose
    golden noise is outside the gate has no stored noise, and stays rejected without scores.

    Raises ``VerificationError`` if the earlier unit has other candidates.
    """
    if [each.sample_id for each in earlier.outcomes] != [c.sample_id for c in unit.candidates]:
        raise VerificationError("the unit that is judged again has other candidates than the plan")
    assert spec.judged_share is not None, "all candidates are judged"
    outcomes: dict[int, Outcome] = {}
    pairs: dict[int, NoisePair] = {}
    sample: list[int] = []
    for row, outcome in enumerate(earlier.outcomes):
        is_new = not outcome.judged and is_sampled(outcome.sample_id, spec.judged_share)
        if is_new and outcome.status is Status.UNJUDGED:
            sample.append(row)
            continue
        outcomes[row] = outcome.model_copy(update={"judged": outcome.judged or is_new})
        if outcome.num_bytes:
            pairs[row] = earlier.pairs[outcome.sample_id]
    others = Results(outcomes=outcomes, pairs=pairs, forward_evaluations=0)
    yield lambda: others
    made = {row: earlier.made(row) for row in sample}
    (name,) = models.proposers
    for rows in batches(sample, spec.batch_size):
        given = GivenNoise.of(unit, rows, made, models, spec)
        yield judge_batch(unit, rows, replace(models, proposers={name: given}), spec, clock)
