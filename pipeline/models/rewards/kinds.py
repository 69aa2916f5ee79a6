"""The class of each published reward, imported when it is asked for: it brings transformers."""

from pathlib import Path
from typing import Protocol, Self

import torch

from pipeline.models.reward import Reward


class PublishedReward(Reward, Protocol):
    """A reward that is read from a folder, and written to one."""

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        ...

    def save(self, folder: Path) -> None:
        """Write what ``load`` reads, as safetensors, into a folder that exists."""
        ...


def published_class(kind: str) -> type[PublishedReward]:
    """The class of a kind of ``published.PARTS``."""
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
    raise AssertionError(f"{kind!r} is no published reward; the configuration allows no other")
