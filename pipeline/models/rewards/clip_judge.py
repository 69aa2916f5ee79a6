"""Base class of the rewards that are built on a CLIP."""

from pathlib import Path
from typing import ClassVar, Self

import torch

from pipeline.models.rewards.clip import Clip


class ClipJudge:
    """Base class of rewards that load a CLIP. Subclasses define ``score``."""

    kind: ClassVar[str]
    """Kind of the reward in a configuration."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device))

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors."""
        self._clip.save(folder)
