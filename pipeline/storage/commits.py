"""Listing of the units of a plan that are committed, with several listings at once.

A page of a listing names the next one, so a single listing is sequential. The receipts of a large
plan are therefore listed by ranges of their keys. The ranges cover every unit, and a range that
cannot be listed is an error.
"""

from collections.abc import Iterator

from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.parallel import in_parallel

_PAGE_UNITS = 1000
"""Number of keys in one reply of S3."""
_RANGES = 100
"""Largest number of ranges. Each costs at least one request."""
_DIGITS = 8
"""Least number of digits of a unit in a key."""

CommitTimes = dict[int, float]
"""Maps each unit that is done to the time at which the store received its receipt.

Times are in seconds since 1970. An entry takes about 100 bytes. The number of units that the plan
claims is not used for this, because a plan in a store may be forged.
"""


def list_commits(store: ObjectStore, plan_id: str, num_units: int) -> CommitTimes:
    """List the receipts of a plan.

    Foreign files and units beyond ``num_units`` are ignored.
    """
    return dict(_commits(store, plan_id, num_units))


def done_units(store: ObjectStore, plan_id: str, num_units: int) -> Iterator[int]:
    """Yield the numbers of the units that have a receipt, in the order of their keys.

    Foreign files and units beyond the plan's ``num_units`` are ignored.
    """
    return (unit for unit, _ in _commits(store, plan_id, num_units))


def _commits(store: ObjectStore, plan_id: str, num_units: int) -> Iterator[tuple[int, float]]:
    """Yield each committed unit with the time of its receipt, in the order of the keys."""
    prefix, threads = layout.receipts_prefix(plan_id), store.parallel_requests
    if threads == 1:
        # In a folder, each listing would read all names.
        yield from _listed(store, plan_id, num_units, prefix)
        return

    def list_range(digits: str) -> list[tuple[int, float]]:
        return list(_listed(store, plan_id, num_units, f"{prefix}{digits}"))

    for listed in in_parallel(list_range, key_ranges(num_units), threads):
        yield from listed


def _listed(
    store: ObjectStore, plan_id: str, num_units: int, prefix: str
) -> Iterator[tuple[int, float]]:
    for info in store.list(prefix):
        unit = layout.unit_of_receipt(plan_id, info.key)
        # A receipt beyond the plan cannot come from a build of it.
        if unit is not None and unit < num_units:
            yield unit, info.modified.timestamp()


def key_ranges(num_units: int) -> list[str]:
    """Return first digits of keys that together cover all units, in ascending order.

    They split the units evenly, into at most 100 ranges of at least 1,000 units.
    """
    if num_units <= _PAGE_UNITS:
        return [""]
    if num_units > 10**_DIGITS:
        # Longer numbers have no leading zeros, so that any first digits occur.
        return [f"{digits:02d}" for digits in range(100)]
    size, digits = _PAGE_UNITS, _DIGITS - 3
    while num_units > _RANGES * size:
        size, digits = 10 * size, digits - 1
    return [f"{number:0{digits}d}" for number in range(-(-num_units // size))]
