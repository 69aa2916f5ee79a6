"""What all chunks of a trial came to, put together. A arms, R rewards, n samples, P prompts."""

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
    """What an arm made of one sample."""

    image: npt.NDArray[np.uint8]
    """(H, W, 3)."""
    noise: npt.NDArray[np.float16]


@dataclass(frozen=True, kw_only=True)
class Results:
    """Scores of everything; images stay in their files."""

    entries: Sequence[ArmSpec]
    rewards: Sequence[str]
    samples: Sequence[Sample]
    scores: Values
    """(A, R, n), NaN where an arm was not drawn or an image could not be scored."""
    distances: Values
    """(A, P), between the images of a prompt's seeds, NaN where not all were drawn."""
    evaluations: Values
    """(A,)."""
    seconds: Values
    """(A,), the median over the chunks: a machine's hiccups do not count."""
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
        """Put the files of all chunks together, in order."""
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
        """Scores (n,) of an arm."""
        found: Values = self.scores[self._arm(arm), list(self.rewards).index(reward)]
        return found

    def drawn_in_both(self, one: str, other: str) -> Mask:
        """Samples (n,) that have all scores in both arms."""
        scores = self.scores[[self._arm(one), self._arm(other)]]
        return np.asarray(np.isfinite(scores).all(axis=(0, 1)))

    def distance(self, arm: str) -> Values:
        """(P,)."""
        found: Values = self.distances[self._arm(arm)]
        return found

    def cost(self, arm: str) -> Cost:
        """For one image."""
        position = self._arm(arm)
        return Cost(float(self.evaluations[position]), float(self.seconds[position]))

    @property
    def prompt_ids(self) -> npt.NDArray[np.str_]:
        """(n,)."""
        return np.array([sample.prompt_id for sample in self.samples])

    @property
    def shown_arms(self) -> list[str]:
        """Arms whose images were kept."""
        return [entry.name for entry in self.entries if entry.keep_images]

    def shown(self, sample: int) -> dict[str, Shown]:
        """Image and noise of one sample (by position), of every arm that keeps them."""
        chunk, row = divmod(sample, self.chunk_size)
        part = ChunkResult.from_bytes(self.files[chunk].read_bytes())
        return {
            name: Shown(image=part.images[kept, row], noise=part.noises[kept, row])
            for kept, name in enumerate(self.shown_arms)
        }

    def noises(self, chunk: int) -> dict[str, npt.NDArray[np.float16]]:
        """Noises (B, ...) of one chunk, of every arm that keeps them."""
        part = ChunkResult.from_bytes(self.files[chunk].read_bytes())
        return dict(zip(self.shown_arms, part.noises, strict=True))

    def _arm(self, name: str) -> int:
        return next(index for index, entry in enumerate(self.entries) if entry.name == name)
