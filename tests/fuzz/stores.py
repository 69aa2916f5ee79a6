"""The sealed store that is mutated, and the place of a mutated copy with its canary."""

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

CANARY = b"outside of the store\n"
"""Content of a file beside the store, which no command may change."""


def sealed_store(folder: Path) -> Path:
    """Build and seal a small data set; return its folder."""
    from tests.sealed import built_once

    folder.mkdir(parents=True)
    built_once(folder)
    return folder / "sealed"


def in_a_child(make: Callable[[Path], Path], folder: Path) -> Path:
    """Call ``make`` with ``folder`` in a forked process; return the folder that it returns."""
    # Commands are forked later, and may not inherit threads.
    made = folder.with_name("made")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            made.write_text(str(make(folder)), encoding="utf-8")
            status = 0
        except Exception:  # printed here, because this process ends without its parent's handlers
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError("the folder that is mutated could not be made")
    return Path(made.read_text(encoding="utf-8"))


def new_place(base: Path, place: Path) -> Path:
    """Return a fresh copy of the store at ``base``, in ``place``, which is emptied first."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "canary").write_bytes(CANARY)
    return Path(shutil.copytree(base, place / "store"))


def canary_is_intact(place: Path) -> bool:
    """Return True if nothing outside of the store and of the output was changed."""
    known = {"canary", "store", "out", "output", "stack", "mutation", "moved"}
    return (place / "canary").read_bytes() == CANARY and {
        path.name for path in place.iterdir()
    } <= known
