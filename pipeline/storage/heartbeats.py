"""Heartbeats: small objects by which other machines see that a build is alive.

Each run of ``npd build`` overwrites one object every 30 s. A sealed build deletes it; one that
stopped or failed leaves its reason. Nothing refers to heartbeats: builds, readers, ``verify`` and
``gc`` work without them, so a heartbeat that is missing, late or forged changes no data.

The age of a heartbeat is the difference of two times of the store, the object's and the present
one. Clocks of the machines that write and read it do not matter.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import ConfigDict, Field, ValidationError

from pipeline.core.errors import ObjectNotFoundError
from pipeline.core.records import Record
from pipeline.storage import layout
from pipeline.storage.layout import Kind, place_of
from pipeline.storage.object_store import ObjectInfo, ObjectStore
from pipeline.storage.s3 import S3Store
from pipeline.storage.s3_clock import server_time

INTERVAL_S = 30.0
"""Seconds between two heartbeats of a build."""

ALIVE_S = 120.0
"""Age in seconds up to which the writer of a heartbeat counts as alive.

Three heartbeats may be lost or late, for example while the store is unavailable.
"""

_MAX_BYTES = 10_000
_SHOWN = 20
"""Number of heartbeats of a plan that are read, the latest ones."""


class Phase(StrEnum):
    """Phase of a build."""

    STARTING = "starting"
    """No worker has loaded its models yet."""
    COMPUTING = "computing"
    SEALING = "sealing"
    STOPPED = "stopped"
    """Ended on request."""
    FAILED = "failed"
    """Ended with an error."""

    @property
    def has_ended(self) -> bool:
        """True for a build that does not run any more."""
        return self in (Phase.STOPPED, Phase.FAILED)


class Heartbeat(Record):
    """State of one run of ``npd build``."""

    # A later version may write further fields.
    model_config = ConfigDict(extra="ignore")

    plan_id: str
    build_id: str
    host: Annotated[str, Field(max_length=255)]
    pid: int
    seconds: Annotated[float, Field(ge=0)]
    """Seconds since the build started, by the clock of its machine."""
    phase: Phase
    workers: Annotated[int, Field(ge=0)]
    """Number of workers that are running or requested."""
    workers_ready: Annotated[int, Field(ge=0)]
    """Number of workers that have loaded their models."""
    units_in_flight: Annotated[int, Field(ge=0)]
    """Number of units that were sent to workers and are not done."""
    failures_in_a_row: Annotated[int, Field(ge=0)] = 0
    """Number of failed attempts at units since a unit was last done."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """Price of a worker per hour, if the configuration has a price."""
    error: Annotated[str, Field(max_length=1000)] | None = None
    """Message of the error that ended the build."""


@dataclass(frozen=True, kw_only=True)
class StoredHeartbeat:
    """A heartbeat with the time at which the store received it."""

    heartbeat: Heartbeat
    received: datetime
    """Time by the clock of the store."""


def store_time(store: ObjectStore) -> datetime:
    """Return the present time by the clock that dates the objects of a store.

    For a folder, this is the clock of this machine. Raises ``StoreError``.
    """
    return server_time(store) if isinstance(store, S3Store) else datetime.now(UTC)


def put_heartbeat(store: ObjectStore, heartbeat: Heartbeat) -> None:
    """Write or overwrite a heartbeat."""
    key = layout.heartbeat_key(heartbeat.plan_id, heartbeat.build_id)
    store.put(key, heartbeat.model_dump_json().encode())


def read_heartbeats(store: ObjectStore, plan_id: str) -> list[StoredHeartbeat]:
    """Return the latest heartbeats of a plan, newest first. Those that are damaged are left out."""
    found = []
    for info in sorted(_listed(store, plan_id), key=lambda info: info.modified)[: -_SHOWN - 1 : -1]:
        try:
            data = store.get_range(info.key, 0, _MAX_BYTES)
            heartbeat = Heartbeat.model_validate_json(data)
        # Deleted by its build after the listing, or cut off because no heartbeat is so large.
        except (ObjectNotFoundError, ValidationError):
            continue
        if info.key == layout.heartbeat_key(plan_id, heartbeat.build_id):
            found.append(StoredHeartbeat(heartbeat=heartbeat, received=info.modified))
    return found


def delete_ended(store: ObjectStore, plan_id: str, now: datetime) -> None:
    """Delete the heartbeats of builds that are not alive at the time ``now`` of the store."""
    for info in _listed(store, plan_id):
        if (now - info.modified).total_seconds() > ALIVE_S:
            store.delete(info.key)


def delete_all(store: ObjectStore, plan_id: str) -> None:
    """Delete the heartbeats of a sealed plan. Another build that is alive deletes its own again."""
    for info in _listed(store, plan_id):
        store.delete(info.key)


def _listed(store: ObjectStore, plan_id: str) -> list[ObjectInfo]:
    listed = store.list(layout.heartbeats_prefix(plan_id))
    return [
        info
        for info in listed
        if (place := place_of(info.key)) is not None and place.kind is Kind.HEARTBEAT
    ]
