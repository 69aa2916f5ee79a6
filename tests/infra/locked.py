"""Whether a set of requirements installs the same versions everywhere."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pins(constraints: Path) -> dict[str, str]:
    """The pinned versions in a constraints file, by canonical name."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pinned = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pinned}


def unlocked(requirements: Iterable[str], pinned: dict[str, str]) -> set[str]:
    """Distributions that the requirements pull in and whose version nothing fixes.

    The closure is that of this environment. A parent may pin by itself: torch does so with the
    CUDA libraries that it needs.
    """
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(each), frozenset[str]()) for each in requirements]
    while waiting:
        requirement, extras_of_parent = waiting.pop()
        if not _applies(requirement, extras_of_parent):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pinned and not _is_exact(requirement):
            found.add(name)
        try:
            children = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        waiting += [(Requirement(child), extras) for child in children]
    return found


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": each}) for each in (*extras, ""))


def _is_exact(requirement: Requirement) -> bool:
    return [each.operator for each in requirement.specifier] == ["=="]
