"""Results of all chunks of a trial. A arms, R rewards, n samples, P prompts."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from pipeline.evaluate.scores import Mask
from pipeline.evaluate.statistics import Values
from pipeline.evaluate.trial.arm_runner import Cost
from pipeline.evaluate.trial.arm_specs import ArmSpec
from pipeline.evaluate.trial.chunk import ChunkResult
from pipeline.evaluate.trial.samples import Sample


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

    entries: Sequence[ArmSpec]
    rewards: Sequence[str]
    samples: Sequence[Sample]
    scores: Values
    """Scores, (A, R, n); NaN if an arm has no image of the sample or it could not be scored."""
    distances: Values
    """Mean distances between the images of a prompt's seeds, (A, P); NaN if any is missing."""
    evaluations: Values
    """Numbers of forward evaluations for one image, (A,)."""
    seconds: Values
    """Seconds for one image, (A,): the median over the chunks, which is robust to outliers."""
    files: Sequence[Path]
    chunk_size: int

    @classmethod
    def read(
        cls,
        entries: Sequence[ArmSpec],
        rewards: Sequence[str],
        chunks: Sequence[Sequence[Sample]],
        files: Sequence[Path],
    ) -> Self:
        """Read the files of all chunks and concatenate their results in order."""
        parts = [ChunkResult.from_bytes(file.read_bytes()) for file in files]
        return cls(
            entries=entries,
            rewards=rewards,
            samples=[sample for chunk in chunks for sample in chunk],
            scores=np.concatenate([part.scores for part in parts], axis=2),
            distances=np.concatenate([part.distances for part in parts], axis=1),
            evaluations=np.nanmedian([part.evaluations for part in parts], axis=0),
            seconds=np.nanmedian([part.seconds for part in parts], axis=0),
            files=files,
            chunk_size=len(chunks[0]),
        )

    def column(self, arm: str, reward: str) -> Values:
        """Return the scores (n,) of an arm under a reward."""
        found: Values = self.scores[self._arm(arm), list(self.rewards).index(reward)]
        return found

    def drawn_in_both(self, one: str, other: str) -> Mask:
        """Return a mask (n,) of the samples that have all scores in both arms."""
        scores = self.scores[[self._arm(one), self._arm(other)]]
        return np.asarray(np.isfinite(scores).all(axis=(0, 1)))

    def distance(self, arm: str) -> Values:
        """Return the mean distances (P,) between the images of each prompt."""
        found: Values = self.distances[self._arm(arm)]
        return found

    def cost(self, arm: str) -> Cost:
        """Return the cost of one image."""
        position = self._arm(arm)
        return Cost(float(self.evaluations[position]), float(self.seconds[position]))

    @property
    def prompt_ids(self) -> npt.NDArray[np.str_]:
        """Prompt ID of each sample, (n,)."""
        return np.array([sample.prompt_id for sample in self.samples])

    @property
    def shown_arms(self) -> list[str]:
        """Names of the arms that keep their images, in the order of the stored images."""
        return [entry.name for entry in self.entries if entry.keep_images]

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
        return next(index for index, entry in enumerate(self.entries) if entry.name == name)
