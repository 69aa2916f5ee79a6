"""Classes of the published rewards. They are imported on demand, because they need transformers."""

from pathlib import Path
from typing import Protocol, Self

import torch

from pipeline.models.reward import Reward


class PublishedReward(Reward, Protocol):
    """Interface of a reward that is loaded from a folder and saved to one."""

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        ...

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors, into an existing folder."""
        ...


def published_class(kind: str) -> type[PublishedReward]:
    """Return the class of a kind in ``published.PARTS``."""
    match kind:
        case "image_reward":
            from pipeline.models.rewards.image_reward import ImageReward

            return ImageReward
        case "hps_v2":
            from pipeline.models.rewards.hps_v2 import HpsV2

            return HpsV2
        case "pick_score":
            from pipeline.models.rewards.pick_score import PickScore

            return PickScore
        case "clip_score":
            from pipeline.models.rewards.clip_score import ClipScore

            return ClipScore
        case "aesthetic":
            from pipeline.models.rewards.aesthetic import Aesthetic

            return Aesthetic
    raise AssertionError(f"{kind!r} is not a published reward; the configuration checks the kind")
