"""The sealed store that is mutated, and the place of a mutated copy with its canary."""

import os
import shutil
import traceback
from collections.abc import Callable
from pathlib import Path

CANARY = b"outside of the store\n"
"""Content of a file beside the store, which no command may change."""


def sealed_store(folder: Path) -> Path:
    """Build and seal a small data set with the sums of its workers; return its folder."""
    from pipeline.storage.local import LocalStore
    from pipeline.storage.worker_sums import RunSums, WorkerSums, put_run_sums
    from tests.sealed import built_once

    folder.mkdir(parents=True)
    plan = built_once(folder).plan
    worker = WorkerSums(
        worker="7f890ecb",
        host="node-1",
        device="H200",
        units=plan.num_units,
        candidates=plan.num_candidates,
        judged=plan.num_candidates,
        kept=plan.num_candidates // 2,
        compute_seconds=20.0,
        stage_seconds={"sample": 15.0, "judge": 4.0, "upload": 1.0},
    )
    sums = RunSums(plan_id=plan.plan_id, build_id="0a" * 16, workers=(worker,))
    put_run_sums(LocalStore(folder / "sealed"), sums)
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
