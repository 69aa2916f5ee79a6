"""What all judges that compare vectors of a CLIP have in common."""

from pathlib import Path
from typing import ClassVar, Self

import torch

from pipeline.models.rewards.clip import Clip


class ClipJudge:
    """Base of rewards whose folder is that of a CLIP; they differ in ``score``."""

    kind: ClassVar[str]
    """As configurations name it."""

    def __init__(self, clip: Clip) -> None:
        self._clip = clip

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device))

    def save(self, folder: Path) -> None:
        """Write what ``load`` reads, as safetensors."""
        self._clip.save(folder)
