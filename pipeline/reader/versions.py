"""Errors for states that were saved with other versions of the data set.

``npd select`` makes a new version of a plan current, and ``npd build --add`` adds a plan. A
position in the old pairs is not valid for the new pairs. The old pairs are still stored, and the
error explains how to read them.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Any

from pipeline.core.errors import AccessDeniedError, UserError
from pipeline.reader.catalog import Catalog, OpenedSource, digest_of
from pipeline.reader.state import states_in
from pipeline.storage.layout import Kind
from pipeline.storage.versions import read_removal, read_versions, version_numbers

VERSIONS = "plan_versions"
"""Key of a state: one mapping from plan id to version per source. Older states lack it."""

_MOST_TRIED = 10_000
"""Maximum number of combinations of versions to compare with a state without versions."""

_Versions = Mapping[str, int]


def with_versions(state: Mapping[str, Any], catalog: Catalog) -> dict[str, Any]:
    """Return a state with the versions of the data that it is a position in."""
    return {**state, VERSIONS: versions_of(catalog)}


def versions_of(catalog: Catalog) -> list[dict[str, int]]:
    """Return a mapping from plan id to version for each source."""
    return [
        {sealed.plan_id: sealed.version for sealed in source.sealed} for source in catalog.sources
    ]


def refuse_other_versions(content: Any, catalog: Catalog) -> None:
    """Raise ``UserError`` if a state is of other versions or plans of the same data set.

    All other states are accepted here. ``read_state`` checks them.
    """
    here = versions_of(catalog)
    for state in states_in(content):
        data = state.get("read", {}).get("data")
        if data == catalog.digest:
            continue
        # States of earlier releases do not hold versions. Find those with the state's digest, which
        # needs a listing of the store, so only here, where the state is rejected anyway.
        then = state.get(VERSIONS) or next(_versions_with(data, catalog.sources), None)
        if then is None or then == here or not _are_related(then, here):
            continue
        raise UserError(_message(then, here, catalog.sources))


def _are_related(then: Sequence[_Versions], here: Sequence[_Versions]) -> bool:
    """Return True if each source has a plan in common. If not, the data sets are unrelated."""
    return len(then) == len(here) and all(
        old.keys() & new.keys() for old, new in zip(then, here, strict=True)
    )


def _versions_with(data: object, sources: Sequence[OpenedSource]) -> Iterator[list[_Versions]]:
    """Yield the stored or recorded versions whose digest equals ``data``."""
    try:
        known = [list(_combinations(source)) for source in sources]
    except AccessDeniedError:  # without permission to list, the error cannot name the versions
        return
    for combined in islice(product(*known), _MOST_TRIED):
        weighted = (
            (source.weight, list(digests.values()))
            for source, (digests, _) in zip(sources, combined, strict=True)
        )
        if digest_of(weighted) == data:
            yield [versions for _, versions in combined]


def _combinations(source: OpenedSource) -> Iterator[tuple[dict[str, str], dict[str, int]]]:
    """Yield manifest digests and versions by plan id for each combination of plan versions."""
    choices = [
        [*_digests(source, sealed.plan_id), *([None] if len(source.sealed) > 1 else [])]
        for sealed in source.sealed
    ]
    plan_ids = [sealed.plan_id for sealed in source.sealed]
    for chosen in islice(product(*choices), _MOST_TRIED):
        some = {
            plan_id: each
            for plan_id, each in zip(plan_ids, chosen, strict=True)
            if each is not None
        }
        yield (
            {plan_id: digest for plan_id, (_, digest) in some.items()},
            {plan_id: number for plan_id, (number, _) in some.items()},
        )


def _digests(source: OpenedSource, plan_id: str) -> Iterator[tuple[int, str]]:
    """Yield the version numbers of a plan with their manifest digests, removed ones included."""
    for version in read_versions(source.store, plan_id):
        if version.sealed is not None:
            yield version.number, version.sealed.sha256
    for number, kinds in version_numbers(source.store, plan_id).items():
        removal = read_removal(source.store, plan_id, number) if Kind.REMOVAL in kinds else None
        if removal is not None:
            yield number, removal.manifest_sha256


def _message(
    then: Sequence[_Versions], here: Sequence[_Versions], sources: Sequence[OpenedSource]
) -> str:
    parts: list[str] = []
    remedies: list[str] = []
    for old, new, source in zip(then, here, sources, strict=True):
        where = source.store.url
        changed = {plan: old[plan] for plan in old if plan in new and old[plan] != new[plan]}
        for plan_id, number in changed.items():
            parts.append(
                f"version {number} of plan {plan_id} in {where}, and version {new[plan_id]} is "
                "read here"
            )
            if read_removal(source.store, plan_id, number) is not None:
                return (
                    f"the state is a position in {parts[-1]}; version {number} was removed, so "
                    "this run cannot be continued"
                )
        added, lacking = sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys())
        if added:
            parts.append(f"{where} without plan {', '.join(added)}, which is read here")
        if lacking:
            parts.append(f"{where} with plan {', '.join(lacking)}, which is not read here")
        remedies += _remedies(old, changed, is_mixed=len(sources) > 1, url=where)
        if added or lacking:
            remedies.append(f"plans={sorted({plan for each in then for plan in each})}")
    return (
        f"the state is a position in {'; '.join(parts)}. `npd select` makes new versions, and "
        f"`npd build --add` adds plans. To go on with the state, open the data set with "
        f"{', '.join(dict.fromkeys(remedies))}; to read the data as they are here, begin without it"
    )


def _remedies(old: _Versions, changed: _Versions, *, is_mixed: bool, url: str) -> Iterator[str]:
    if changed:
        wanted = next(iter(changed.values())) if len(old) == 1 else dict(changed)
        yield f"Source({url!r}, version={wanted})" if is_mixed else f"version={wanted}"
