"""Checkpoints: everything that a killed run needs to go on as if nothing had happened."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from pipeline.errors import UserError
from pipeline.storage.durable import whole_file

CHECKPOINT_FILE = "checkpoint.pt"

_ABSENT = "absent"


def write_checkpoint(folder: Path, run: Mapping[str, Any], state: Mapping[str, Any]) -> None:
    """Replace the checkpoint in ``folder`` in one step. ``run`` identifies the run."""
    with whole_file(folder / CHECKPOINT_FILE) as unfinished:
        torch.save({"run": dict(run), **state}, unfinished)


def read_checkpoint(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The checkpoint in ``folder``, if there is one.

    Raises ``UserError`` if it is damaged or of another run.
    """
    path = folder / CHECKPOINT_FILE
    if not path.is_file():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (EOFError, KeyError, OSError, RuntimeError, UnpicklingError, ValueError) as error:
        # torch's text may advise to run what is in the file.
        raise UserError(
            f"{path} is damaged; remove it to train from the beginning, or give another --out"
        ) from error
    refuse_other_run(path, state["run"], run)
    return state


def refuse_other_run(path: Path, stored: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if ``stored``, read from ``path``, identifies another run.

    The error names each difference. What an earlier version did not record is not compared.
    """
    there = dict(_leaves(stored))
    here = dict(_leaves({name: value for name, value in run.items() if name in stored}))
    differing = [
        f"{name} is {there.get(name, _ABSENT)} there and {here.get(name, _ABSENT)} here"
        for name in sorted({*there, *here})
        if there.get(name, _ABSENT) != here.get(name, _ABSENT)
    ]
    if differing:
        raise UserError(
            f"{path} is of another run: {'; '.join(differing)}. Give the same arguments to go on "
            "with it, or another --out"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every value in nested JSON, with the keys that lead to it joined by dots."""
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        yield name, value
        return
    for key, inner in items:
        yield from _leaves(inner, f"{name}.{key}" if name else key)
