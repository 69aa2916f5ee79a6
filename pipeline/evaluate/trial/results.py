"""Results of a trial, computed and stored in chunks of samples.

A arms, R rewards, B samples of a chunk, n samples, P prompts, K arms whose images are kept.
"""

import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.evaluate.compare import Mask, Values
from pipeline.evaluate.trial.arm_runner import ArmResult, ArmRunner, Cost, SampleBatch
from pipeline.evaluate.trial.arm_specs import ArmSpec
from pipeline.evaluate.trial.samples import TrialSample


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
    load: Values = field(default_factory=lambda: np.array(np.nan))
    """Number of processes that wanted to run per CPU core, shape (); NaN in older files."""

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
    runner: ArmRunner,
    specs: Sequence[ArmSpec],
    samples: Sequence[TrialSample],
    seeds_per_prompt: int,
) -> ChunkResult:
    """Compute all arms for a chunk of samples. Each arm follows the arms that it uses."""
    # Values of an arm that is limited to other samples stay NaN.
    result = _empty(runner, specs, samples, seeds_per_prompt)
    with torch.inference_mode():
        batch = runner.batch(samples)
        drawn: dict[str, _Rows] = {}
        for arm, spec in enumerate(specs):
            rows = [
                row
                for row, sample in enumerate(samples)
                if spec.limit is None or sample.rank < spec.limit
            ]
            if rows:
                drawn[spec.name] = _Rows(rows, _draw(runner, batch, spec, rows, drawn))
                _fill(result, arm, drawn[spec.name], runner.rewards, seeds_per_prompt)
        kept = [drawn[spec.name].drawn for spec in specs if spec.keep_images]
    return ChunkResult(
        scores=result.scores,
        distances=result.distances,
        evaluations=result.evaluations,
        seconds=result.seconds,
        images=np.stack([one.images.pixels.numpy() for one in kept]),
        noises=np.stack([one.noise.numpy() for one in kept]),
        load=np.array(os.getloadavg()[0] / (os.cpu_count() or 1)),
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
    runner: ArmRunner,
    batch: SampleBatch,
    spec: ArmSpec,
    rows: Sequence[int],
    drawn: dict[str, _Rows],
) -> ArmResult:
    # An arm can only use arms that have results for all of its samples.
    wanted = set(rows)
    before = {name: one.at(rows) for name, one in drawn.items() if wanted <= set(one.rows)}
    return spec.arm.draw(runner, batch.take(rows), before)


def _empty(
    runner: ArmRunner,
    specs: Sequence[ArmSpec],
    samples: Sequence[TrialSample],
    seeds_per_prompt: int,
) -> ChunkResult:
    arms = len(specs)
    return ChunkResult(
        scores=np.full((arms, len(runner.rewards), len(samples)), np.nan),
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


def mean_pairwise_distance(images: Tensor) -> float:
    """Return the mean RMS difference in pixel values over all pairs of images.

    ``images`` is uint8 (S, H, W, 3). The result is 0 for equal images, 1 for black and white, and
    NaN for a single image.
    """
    pixels = images.to(torch.float32).flatten(1) / 255
    distances = [
        float((pixels[a] - pixels[b]).square().mean().sqrt())
        for a, b in combinations(range(len(pixels)), 2)
    ]
    return float(np.mean(distances)) if distances else float("nan")


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Image and noise of one arm for one sample."""

    image: npt.NDArray[np.uint8]
    """Image, (H, W, 3)."""
    noise: npt.NDArray[np.float16]
    """Initial noise of the image."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores and costs of all arms. Images are read from the chunks' files when needed."""

    specs: Sequence[ArmSpec]
    rewards: Sequence[str]
    samples: Sequence[TrialSample]
    scores: Values
    """Scores, (A, R, n); NaN if an arm has no image of the sample or it could not be scored."""
    distances: Values
    """Mean distances between the images of a prompt's seeds, (A, P); NaN if any is missing."""
    evaluations: Values
    """Numbers of forward evaluations for one image, (A,)."""
    seconds: Values
    """Seconds for one image, (3, A): lower quartile, median and upper quartile over the chunks."""
    load: float
    """Median of the chunks' load per CPU core; NaN if unknown."""
    files: Sequence[Path]
    chunk_size: int

    @classmethod
    def read(
        cls,
        specs: Sequence[ArmSpec],
        rewards: Sequence[str],
        chunks: Sequence[Sequence[TrialSample]],
        files: Sequence[Path],
    ) -> Self:
        """Read the files of all chunks and concatenate their results in order."""
        parts = [ChunkResult.from_bytes(file.read_bytes()) for file in files]
        # A smaller last batch takes longer for an image, so its time is no part of the spread.
        timed = [
            part.seconds
            for part, chunk in zip(parts, chunks, strict=True)
            if len(chunk) == len(chunks[0])
        ]
        return cls(
            specs=specs,
            rewards=rewards,
            samples=[sample for chunk in chunks for sample in chunk],
            scores=np.concatenate([part.scores for part in parts], axis=2),
            distances=np.concatenate([part.distances for part in parts], axis=1),
            evaluations=np.nanmedian([part.evaluations for part in parts], axis=0),
            seconds=np.nanquantile(timed, [0.25, 0.5, 0.75], axis=0),
            load=float(np.median([part.load for part in parts])),
            files=files,
            chunk_size=len(chunks[0]),
        )

    def column(self, arm: str, reward: str) -> Values:
        """Return the scores (n,) of an arm under a reward."""
        found: Values = self.scores[self._arm(arm), list(self.rewards).index(reward)]
        return found

    def scored_in_both(self, one: str, other: str) -> Mask:
        """Return a mask (n,) of the samples that have all scores in both arms."""
        scores = self.scores[[self._arm(one), self._arm(other)]]
        return np.asarray(np.isfinite(scores).all(axis=(0, 1)))

    def distance(self, arm: str) -> Values:
        """Return the mean distances (P,) between the images of each prompt."""
        found: Values = self.distances[self._arm(arm)]
        return found

    def cost(self, arm: str) -> Cost:
        """Return the cost of one image, in seconds by the median of the chunks."""
        position = self._arm(arm)
        return Cost(float(self.evaluations[position]), float(self.seconds[1, position]))

    def quartiles(self, arm: str) -> tuple[float, float]:
        """Return the lower and upper quartile of an image's seconds over the chunks."""
        low, _, high = self.seconds[:, self._arm(arm)]
        return float(low), float(high)

    @property
    def prompt_ids(self) -> npt.NDArray[np.str_]:
        """Prompt ID of each sample, (n,)."""
        return np.array([sample.prompt_id for sample in self.samples])

    @property
    def shown_arms(self) -> list[str]:
        """Names of the arms that keep their images, in the order of the stored images."""
        return [spec.name for spec in self.specs if spec.keep_images]

    def shown(self, sample: int) -> dict[str, Shown]:
        """Return the image and noise of the sample at a position, for each arm that keeps them."""
        # Every chunk but the last has exactly ``chunk_size`` samples.
        chunk, row = divmod(sample, self.chunk_size)
        part = ChunkResult.from_bytes(self.files[chunk].read_bytes())
        return {
            name: Shown(image=part.images[kept, row], noise=part.noises[kept, row])
            for kept, name in enumerate(self.shown_arms)
        }

    def noises(self, chunk: int) -> dict[str, npt.NDArray[np.float16]]:
        """Return the noises (B, ...) of one chunk, for each arm that keeps them."""
        part = ChunkResult.from_bytes(self.files[chunk].read_bytes())
        return dict(zip(self.shown_arms, part.noises, strict=True))

    def _arm(self, name: str) -> int:
        return next(index for index, spec in enumerate(self.specs) if spec.name == name)
