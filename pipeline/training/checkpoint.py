"""Checkpoint of a training run: one file, from which the same command resumes the run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Protocol

import torch
from torch import Tensor

from pipeline.core.errors import ModelError, UserError
from pipeline.core.weight_files import check_loaded, check_pickle
from pipeline.storage.durable import whole_file

_FORMAT = 2
"""Raised when the parts of a run or their states change."""

_UNREADABLE = (
    *(AttributeError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError),
    *(UnpicklingError, ValueError),
)
"""Errors of torch for files and states that it did not write."""

_ABSENT = "absent"

_REMEDY = "remove it to train from the beginning, or give another --out"


class Stateful(Protocol):
    """A part of a run whose state is saved, with the methods of a module or an optimiser."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""

    def load_state_dict(self, state_dict: dict[str, Any], /) -> object:
        """Replace the state."""


# accelerate's save_state and load_state are not used. load_state unpickles registered objects
# with weights_only=False, which runs code from the file. save_state stores the network under the
# names of its distributed wrapper, so another number of processes could not resume, and writes
# several files, of which a crash would leave only some.
def save_checkpoint(path: Path, run: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
    """Replace the checkpoint at ``path`` in one step. ``run`` identifies the run.

    Raises ``StoreError`` if it cannot be written. The last checkpoint is then unchanged.
    """
    state = {name: part.state_dict() for name, part in parts.items()}
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        try:
            torch.save({"format": _FORMAT, "run": dict(run), "state": state}, file)
        except RuntimeError as error:
            # torch reports a file that is shorter than expected, while the disk was full.
            if isinstance(error.__context__, OSError):
                raise error.__context__ from error
            raise


def load_checkpoint(path: Path, run: Mapping[str, Any], parts: Mapping[str, Stateful]) -> None:
    """Load the checkpoint at ``path`` into ``parts``, if there is one.

    Raises ``UserError`` if it is damaged, of another run, or of a format that cannot be resumed.
    """
    if not path.is_file():
        return
    try:
        check_pickle(path)
        stored = torch.load(path, map_location="cpu", weights_only=True)
        check_loaded(path, dict(_tensors(stored)))
    except _UNREADABLE as error:
        # torch's message is left out: it may advise to run code from the file.
        reason = f" ({error})" if isinstance(error, ModelError) else ""
        raise UserError(f"{path} is damaged{reason}; {_REMEDY}") from error
    if not isinstance(stored, dict) or stored.get("format") != _FORMAT:
        raise UserError(
            f"{path} is an unfinished run of another version of this project, which cannot be "
            f"resumed; {_REMEDY}"
        )
    try:
        refuse_other_run(path, stored["run"], run)
        for name, part in parts.items():
            part.load_state_dict(stored["state"][name])
    except _UNREADABLE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path} does not hold the state of this run; {_REMEDY}") from error


def refuse_other_run(path: Path, stored: Mapping[str, Any], run: Mapping[str, Any]) -> None:
    """Raise ``UserError`` if ``stored``, read from ``path``, identifies another run.

    The error names each difference. Entries that an earlier version did not record are not
    compared.
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
            f"{path} is of another run: {'; '.join(differing)}. Give the same arguments to resume "
            "it, or another --out"
        )


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every value in nested JSON, with the keys that lead to it joined by dots."""
    if isinstance(value, Mapping):
        items = [(str(key), inner) for key, inner in value.items()]
    elif isinstance(value, list | tuple):
        items = [(str(index), inner) for index, inner in enumerate(value)]
    else:
        yield name, value
        return
    for key, inner in items:
        yield from _leaves(inner, f"{name}.{key}" if name else key)


def _tensors(stored: object) -> Iterator[tuple[str, Tensor]]:
    return ((name, value) for name, value in _leaves(stored) if isinstance(value, Tensor))
