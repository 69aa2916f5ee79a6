"""Sums over the units of each worker of a build, stored beside the reports.

Receipts hold neither the worker that computed a unit nor the seconds of its stages. New keys in
them would be damage to installed versions of this schema version, which reject unknown keys. Each
run of ``npd build`` therefore overwrites one object with its sums. Only pages read it, and a store
without it is complete.
"""

from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from pipeline.core.errors import ObjectNotFoundError
from pipeline.core.records import Record
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore

MAX_WORKERS = 200
"""Number of workers of a run that are named. Later ones are summed up, which bounds the object."""

_MAX_BYTES = 400_000
_MAX_RUNS = 100
"""Number of runs of a plan that are read, the latest ones."""

_Name = Annotated[str, Field(max_length=255)]
_Count = Annotated[int, Field(ge=0, lt=2**63)]
_Seconds = Annotated[float, Field(ge=0, lt=2.0**63)]


class WorkerSums(Record):
    """Sums over the units that one worker has committed."""

    # A later version may write further fields.
    model_config = ConfigDict(extra="ignore")

    worker: _Name
    """Name of the worker in messages; empty for the sum of several."""
    host: _Name
    device: _Name
    units: _Count
    candidates: _Count
    judged: _Count
    """Number of candidates in the sample that is judged; usually all."""
    kept: _Count
    compute_seconds: _Seconds
    """Seconds from the encoding of the first prompt to the last score."""
    stage_seconds: Annotated[dict[_Name, _Seconds], Field(max_length=32)]
    """Maps each stage of a unit to its seconds."""

    def __add__(self, other: "WorkerSums") -> "WorkerSums":
        """Return the sums over the units of both, with the names of the first one."""
        stages = [*dict.fromkeys([*self.stage_seconds, *other.stage_seconds])]
        return self.model_copy(
            update={
                "units": self.units + other.units,
                "candidates": self.candidates + other.candidates,
                "judged": self.judged + other.judged,
                "kept": self.kept + other.kept,
                "compute_seconds": self.compute_seconds + other.compute_seconds,
                "stage_seconds": {
                    stage: self.stage_seconds.get(stage, 0.0) + other.stage_seconds.get(stage, 0.0)
                    for stage in stages
                },
            }
        )


class RunSums(Record):
    """Sums of one run of ``npd build``."""

    model_config = ConfigDict(extra="ignore")

    plan_id: str
    build_id: str
    workers: Annotated[tuple[WorkerSums, ...], Field(max_length=MAX_WORKERS + 1)]


def put_run_sums(store: ObjectStore, sums: RunSums) -> None:
    """Write or overwrite the sums of one run."""
    store.put(layout.run_sums_key(sums.plan_id, sums.build_id), sums.model_dump_json().encode())


def read_worker_sums(store: ObjectStore, plan_id: str) -> list[WorkerSums]:
    """Return the sums of the workers of a plan's latest runs. Damaged objects are left out.

    Raises ``AccessDeniedError`` if the store may not be listed.
    """
    listed = sorted(store.list(layout.run_sums_prefix(plan_id)), key=lambda info: info.modified)
    found: list[WorkerSums] = []
    for info in listed[-_MAX_RUNS:]:
        try:
            sums = RunSums.model_validate_json(store.get_range(info.key, 0, _MAX_BYTES))
        # Cut off, because no such object is so large, or not written by a build.
        except (ObjectNotFoundError, ValidationError):
            continue
        if info.key == layout.run_sums_key(plan_id, sums.build_id):
            found += sums.workers
    return found
