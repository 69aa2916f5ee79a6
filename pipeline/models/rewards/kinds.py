"""Published rewards: the class of each kind, and its conversion to safetensors.

Classes are imported on demand, because they need transformers.
"""

from pathlib import Path
from typing import Protocol, Self

import torch

from pipeline.core.errors import ModelError, UserError
from pipeline.models.reward import Reward
from pipeline.models.rewards.published import REQUIRED_FILES
from pipeline.storage.durable import whole_folder


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
    """Return the class of a kind in ``published.REQUIRED_FILES``."""
    match kind:
        case "image_reward":
            from pipeline.models.rewards.image_reward import ImageReward

            return ImageReward
        case "hps_v2":
            from pipeline.models.rewards.hps_v2 import HpsV2

            return HpsV2
        case "pick_score":
            from pipeline.models.rewards.clip import PickScore

            return PickScore
        case "clip_score":
            from pipeline.models.rewards.clip import ClipScore

            return ClipScore
        case "aesthetic":
            from pipeline.models.rewards.aesthetic import Aesthetic

            return Aesthetic
    raise AssertionError(f"{kind!r} is not a published reward; the configuration checks the kind")


def convert(kind: str, source: Path, out: Path) -> None:
    """Read a published reward and write it as safetensors, which load faster than a pickle.

    ``out`` appears only when it is complete. Raises ``UserError``.
    """
    if kind not in REQUIRED_FILES:
        raise UserError(
            f"{kind!r} is not a published reward; choose from {', '.join(REQUIRED_FILES)}"
        )
    if out.exists():
        raise UserError(f"{out} exists; give the name of a new folder")
    try:
        is_folder = source.is_dir()
    except OSError as error:
        raise ModelError(f"{source}: cannot be read: {error.strerror}") from error
    if not is_folder:
        raise ModelError(f"{source}: no such folder; it must contain the published files")
    reward = published_class(kind).load(source, torch.device("cpu"))
    with whole_folder(out) as unfinished:
        reward.save(unfinished)
