"""Checkpoints: everything that a killed run needs to go on as if nothing had happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.storage.durable import whole_file

CHECKPOINT_FILE = "checkpoint.pt"


def write_checkpoint(folder: Path, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace the checkpoint in ``folder`` in one step. ``run`` identifies the run."""
    with whole_file(folder / CHECKPOINT_FILE) as unfinished:
        torch.save({"run": dict(run), **state}, unfinished)


def read_checkpoint(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The checkpoint in ``folder``, if there is one.

    Raises ``UserError`` if it is of another run, which would be lost.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    refuse_other_run(path, state["run"], run)
    return state


def refuse_other_run(path: Path, stored: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if what is stored at ``path`` is of another run."""
    differing = sorted(key for key in {*stored, *run} if stored.get(key) != run.get(key))
    if differing:
        raise UserError(
            f"{path} is of a run with another {', '.join(differing)}: "
            "give the same arguments to go on with it, or another --out"
        )
