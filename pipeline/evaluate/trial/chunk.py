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
    """Results of one chunk. Arms keep their configured order; values are NaN if an arm has none."""

    scores: Values
    """Scores, (A, R, B)."""
    distances: Values
    """Mean distances between the images of a prompt's seeds, (A, P)."""
    evaluations: Values
    """Numbers of forward evaluations for one image, (A,)."""
    seconds: Values
    """Seconds for one image, (A,)."""
    images: npt.NDArray[np.uint8]
    """Images of the arms that keep them, (K, B, H, W, 3)."""
    noises: npt.NDArray[np.float16]
    """Initial noises of these images, (K, B, ...)."""

    def to_bytes(self) -> bytes:
        """Return the content of a compressed npz file."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **vars(self))
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read the result from the bytes that ``to_bytes`` returned."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            return cls(**arrays)


def compute_chunk(
    bench: ArmRunner, entries: Sequence[ArmSpec], samples: Sequence[Sample], seeds_per_prompt: int
) -> ChunkResult:
    """Compute all arms for a chunk of samples. Each arm follows the arms that it uses."""
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
    """Result of one arm for some samples of the chunk."""

    rows: Sequence[int]
    drawn: ArmResult

    def at(self, rows: Sequence[int]) -> ArmResult:
        place = {row: position for position, row in enumerate(self.rows)}
        return self.drawn.take([place[row] for row in rows])


def _draw(
    bench: ArmRunner, batch: Batch, entry: ArmSpec, rows: Sequence[int], drawn: dict[str, _Rows]
) -> ArmResult:
    # An arm can only use arms that have results for all of its samples.
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
    """Write one arm's scores, cost and distances into the arrays of ``result``."""
    drawn, rows = found.drawn, np.array(found.rows)
    for reward, name in enumerate(rewards):
        column = [np.nan if score is None else score for score in drawn.scores[name]]
        result.scores[arm, reward, rows] = column
    result.evaluations[arm] = drawn.cost.evaluations
    result.seconds[arm] = drawn.cost.seconds
    # The distance between seeds needs the images of all seeds of every prompt.
    if len(rows) == result.scores.shape[2]:
        pixels = drawn.images.pixels
        prompts = pixels.reshape(-1, seeds_per_prompt, *pixels.shape[1:])
        result.distances[arm] = [mean_pairwise_distance(images) for images in prompts]
