"""One chunk of a trial: all arms over one batch of samples.

A arms, R rewards, B samples, P prompts of the chunk, K arms whose images are kept.
"""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import torch

from pipeline.evaluate.statistics import Values
from pipeline.evaluate.trial.arm_runner import ArmResult, ArmRunner, Batch
from pipeline.evaluate.trial.arm_specs import ArmSpec
from pipeline.evaluate.trial.diversity import mean_pairwise_distance
from pipeline.evaluate.trial.samples import Sample


@dataclass(frozen=True, kw_only=True)
class ChunkResult:
    """What became of a chunk; arms in the order of the line-up, NaN where one was not drawn."""

    scores: Values
    """(A, R, B)."""
    distances: Values
    """(A, P), between the images of a prompt's seeds."""
    evaluations: Values
    """(A,), forward evaluations for one image."""
    seconds: Values
    """(A,), for one image."""
    images: npt.NDArray[np.uint8]
    """(K, B, H, W, 3)."""
    noises: npt.NDArray[np.float16]
    """(K, B, ...)."""

    def to_bytes(self) -> bytes:
        """A compressed npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """The inverse of ``to_bytes``."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**arrays)


def compute_chunk(
    bench: ArmRunner, entries: Sequence[ArmSpec], samples: Sequence[Sample], seeds_per_prompt: int
) -> ChunkResult:
    """Draw every arm, each after those that it builds on."""
    result = _empty(bench, entries, samples, seeds_per_prompt)
    with torch.inference_mode():
        batch = bench.batch(samples)
        drawn: dict[str, _Rows] = {}
        for arm, entry in enumerate(entries):
            rows = [
                row
                for row, sample in enumerate(samples)
                if entry.limit is None or sample.rank < entry.limit
            ]
            if rows:
                drawn[entry.name] = _Rows(rows, _draw(bench, batch, entry, rows, drawn))
                _fill(result, arm, drawn[entry.name], bench.rewards, seeds_per_prompt)
        kept = [drawn[entry.name].drawn for entry in entries if entry.keep_images]
    return ChunkResult(
        scores=result.scores,
        distances=result.distances,
        evaluations=result.evaluations,
        seconds=result.seconds,
        images=np.stack([one.images.pixels.numpy() for one in kept]),
        noises=np.stack([one.noise.numpy() for one in kept]),
    )


@dataclass(frozen=True)
class _Rows:
    """What an arm drew, and for which samples of the chunk."""

    rows: Sequence[int]
    drawn: ArmResult

    def at(self, rows: Sequence[int]) -> ArmResult:
        place = {row: position for position, row in enumerate(self.rows)}
        return self.drawn.take([place[row] for row in rows])


def _draw(
    bench: ArmRunner, batch: Batch, entry: ArmSpec, rows: Sequence[int], drawn: dict[str, _Rows]
) -> ArmResult:
    wanted = set(rows)
    before = {name: one.at(rows) for name, one in drawn.items() if wanted <= set(one.rows)}
    return entry.arm.draw(bench, batch.take(rows), before)


def _empty(
    bench: ArmRunner, entries: Sequence[ArmSpec], samples: Sequence[Sample], seeds_per_prompt: int
) -> ChunkResult:
    arms = len(entries)
    return ChunkResult(
        scores=np.full((arms, len(bench.rewards), len(samples)), np.nan),
        distances=np.full((arms, len(samples) // seeds_per_prompt), np.nan),
        evaluations=np.full(arms, np.nan),
        seconds=np.full(arms, np.nan),
        images=np.empty(0, np.uint8),
        noises=np.empty(0, np.float16),
    )


def _fill(
    result: ChunkResult, arm: int, found: _Rows, rewards: Iterable[str], seeds_per_prompt: int
) -> None:
    """Write down what an arm came to."""
    drawn, rows = found.drawn, np.array(found.rows)
    for reward, name in enumerate(rewards):
        column = [np.nan if score is None else score for score in drawn.scores[name]]
        result.scores[arm, reward, rows] = column
    result.evaluations[arm] = drawn.cost.evaluations
    result.seconds[arm] = drawn.cost.seconds
    if len(rows) == result.scores.shape[2]:
        pixels = drawn.images.pixels
        prompts = pixels.reshape(-1, seeds_per_prompt, *pixels.shape[1:])
        result.distances[arm] = [mean_pairwise_distance(images) for images in prompts]
