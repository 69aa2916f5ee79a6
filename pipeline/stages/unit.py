"""Computation of one unit, from candidates to packed pairs.

This module uses neither Ray nor a store. A plain loop over ``produce_unit`` returns the same bytes
as a cluster.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from pipeline.core.records import Candidate, Outcome
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.models.reward import Reward
from pipeline.stages.batch import Models
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.judging import UnitInputs, judge_all, judge_sample
from pipeline.stages.judging_more import EarlierUnit, judge_more
from pipeline.stages.packing import packed
from pipeline.stages.propose import Proposer
from pipeline.stages.stage_clock import Stage, StageClock
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import PairSchema

_Value = TypeVar("_Value")


@dataclass(frozen=True, kw_only=True)
class ProducedUnit:
    """Result of one unit."""

    outcomes: tuple[Outcome, ...]
    data: bytes
    """Arrow IPC file of the stored pairs, in the order of ``outcomes``."""
    forward_evaluations: int
    """Number of forward evaluations for all candidates, each of one latent."""
    stage_seconds: Mapping[Stage, float] = field(default_factory=dict, compare=False)
    """Seconds of each stage. They are not part of the result."""


def produce_unit(
    candidates: Sequence[Candidate],
    denoiser: Denoiser,
    rewards: Mapping[str, Reward],
    spec: BuildSpec,
    skipped: Mapping[int, str] | None = None,
    loaded: Mapping[str, Proposer] | None = None,
    earlier: EarlierUnit | None = None,
) -> ProducedUnit:
    """Compute one unit, always in the same batches.

    Args:
        candidates: The candidates of the unit, in their order.
        denoiser: The model.
        rewards: The rewards by name.
        spec: The settings of the plan.
        skipped: Maps positions in ``candidates`` to the reason why that candidate failed. A skipped
            candidate is replaced by padding and reported as failed.
        loaded: The proposers that are loaded from files, by name.
        earlier: The unit of the plan of which this one judges more candidates.
    """
    skipped = skipped or {}
    # Loaded proposers replace the placeholders of the same names. The order of the plan stays,
    # because the earlier one of two equally good noises wins.
    proposers = {**spec.proposers, **(loaded or {})}
    models = Models(denoiser=denoiser, rewards=rewards, proposers=proposers)
    clock = StageClock(denoiser.device)
    with torch.inference_mode():
        with clock.measure(Stage.ENCODE):
            encoded = _encode_once(denoiser, candidates, skipped)
        inputs = UnitInputs(candidates=candidates, encoded=encoded, skipped=skipped)
        if earlier is not None:
            batches = judge_more(inputs, models, spec, clock, earlier=earlier)
        else:
            judge = judge_all if spec.judged_share is None else judge_sample
            batches = judge(inputs, models, spec, clock)
        made = list(packed(batches, clock))
    # A sample is judged after the other candidates, so the results are put in order.
    pairs = _in_order(each.pairs for each in made)
    schema = PairSchema(
        latent_shape=denoiser.latent_shape,
        reward_names=tuple(rewards),
        schema_version=spec.schema_version,
    )
    with clock.measure(Stage.PACK):
        data = pack_pairs(pairs, schema, spec.output.rows_per_batch)
    return ProducedUnit(
        outcomes=tuple(_in_order(each.outcomes for each in made)),
        data=data,
        forward_evaluations=sum(each.forward_evaluations for each in made),
        stage_seconds=clock.seconds,
    )


def _encode_once(
    denoiser: Denoiser, candidates: Sequence[Candidate], skipped: Mapping[int, str]
) -> EncodedPrompts:
    """Encode each distinct prompt once and return one row per candidate.

    A prompt that only skipped candidates use is replaced by the empty prompt. The text encoder
    therefore always receives the same number of prompts.
    """
    prompts = [candidate.prompt for candidate in candidates]
    distinct = list(dict.fromkeys(prompts))
    live = {prompt for position, prompt in enumerate(prompts) if position not in skipped}
    encoded = denoiser.encode_prompts([prompt if prompt in live else "" for prompt in distinct])
    # A candidate's embeddings must not depend on which others are skipped, so every prompt keeps
    # its place and none is left out.
    row = {prompt: index for index, prompt in enumerate(distinct)}
    return encoded.take([row[prompt] for prompt in prompts])


def _in_order(parts: Iterable[Mapping[int, _Value]]) -> list[_Value]:
    joined = {row: value for part in parts for row, value in part.items()}
    return [joined[row] for row in sorted(joined)]
