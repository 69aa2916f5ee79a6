"""Checks of a store before a build: access, conditional writes, clock, latency and throughput."""

import os
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from statistics import median
from time import perf_counter

from pipeline.core.errors import StoreError
from pipeline.core.finding import Finding, ok, problem, warning
from pipeline.core.quantities import counted
from pipeline.storage import layout
from pipeline.storage.heartbeats import store_time
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.plans import stored_plans
from pipeline.storage.probe import probe
from pipeline.storage.s3 import S3Store

_CLOCK_WARNING_S, _CLOCK_PROBLEM_S = 30.0, 600.0
"""Difference of clocks. S3 rejects requests that are signed 15 minutes too early or too late."""

_CALLS = 5
"""Number of requests behind a latency."""

_SLOW_S = 0.5
_SLOW_BYTES_S = 5e6
"""Latency and throughput from which a store is called slow: uploads of a unit take seconds."""

_SIZES = (1_000_000, 16_000_000)
"""Sizes of the objects that are written and read. The larger one only if it takes a few seconds."""

_ENOUGH_S = 0.3
"""Time of the smaller object above which the larger one is left out."""


def check_store(store: ObjectStore) -> Iterator[Finding]:
    """Check a store that a build will write to. Yield findings, and leave no objects behind."""
    begin = perf_counter()
    try:
        plans = stored_plans(store)
    except StoreError as error:
        yield problem("store", str(error))
        return
    seconds = perf_counter() - begin
    holds = counted(len(plans), "plan")
    yield ok("store", f"{store.url} can be listed ({seconds:.2f} s) and holds {holds}")
    try:
        if isinstance(store, S3Store):
            yield check_clock(store_time(store), perf_counter() - begin)
        probe(store)
        yield ok("conditional writes", "objects are put if absent, replaced, read and deleted")
        yield from _check_speed(store)
    except StoreError as error:
        yield problem("writing to the store", str(error))


def check_clock(time_of_store: datetime, uncertainty: float = 0.0) -> Finding:
    """Compare the clock of a store with the clock of this machine."""
    difference = (datetime.now(UTC) - time_of_store).total_seconds()
    found = f"this machine is {abs(difference):.0f} s {'ahead' if difference > 0 else 'behind'}"
    remedy = "set the clock of this machine, for example with chrony or systemd-timesyncd"
    # The time has a resolution of a second and is as old as the reply.
    distance = abs(difference) - uncertainty - 1
    if distance > _CLOCK_PROBLEM_S:
        return problem("clock of the store", found, remedy)
    if distance > _CLOCK_WARNING_S:
        return warning("clock of the store", found, remedy)
    return ok("clock of the store", "agrees with this machine's")


def _check_speed(store: ObjectStore) -> Iterator[Finding]:
    latency = median(_seconds(lambda: store.head(layout.probe_key("none"))) for _ in range(_CALLS))
    found = f"{1000 * latency:.1f} ms for a request"
    if latency > _SLOW_S:
        yield warning("latency", found, "use a store in the same region as the workers")
    else:
        yield ok("latency", found)
    for size in _SIZES:
        up, down = _transfer(store, size)
        if max(up, down) > _ENOUGH_S:
            break
    found = f"{size / up / 1e6:.0f} MB/s up, {size / down / 1e6:.0f} MB/s down, with one connection"
    if size / max(up, down) < _SLOW_BYTES_S:
        yield warning("throughput", found, "use a store in the same region as the workers")
    else:
        yield ok("throughput", found)


def _transfer(store: ObjectStore, size: int) -> tuple[float, float]:
    """Write, read and delete an object. Return the seconds of the write and of the read."""
    # Random, because a proxy or a file system may compress.
    key, data = layout.probe_key(secrets.token_hex(16)), os.urandom(size)
    try:
        return _seconds(lambda: store.put(key, data)), _seconds(lambda: store.get(key))
    finally:
        store.delete(key)


def _seconds(call: Callable[[], object]) -> float:
    begin = perf_counter()
    call()
    return max(perf_counter() - begin, 1e-6)
