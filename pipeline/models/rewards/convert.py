"""Conversion of a published reward to a folder of safetensors."""

from pathlib import Path

import torch

from pipeline.errors import ModelError, UserError
from pipeline.models.rewards.kinds import published_class
from pipeline.models.rewards.published import PARTS
from pipeline.storage.durable import whole_folder


def convert(kind: str, source: Path, out: Path) -> None:
    """Read a published reward and write it as safetensors, which load faster than a pickle.

    ``out`` appears only when it is complete. Raises ``UserError``.
    """
    if kind not in PARTS:
        raise UserError(f"{kind!r} is not a published reward; choose from {', '.join(PARTS)}")
    if out.exists():
        raise UserError(f"{out} exists; give the name of a new folder")
    if not source.is_dir():
        raise ModelError(f"{source}: no such folder; it must contain the published files")
    reward = published_class(kind).load(source, torch.device("cpu"))
    with whole_folder(out) as unfinished:
        reward.save(unfinished)
