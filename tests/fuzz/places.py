"""Choice and names of objects in a store that is mutated."""

import random
from pathlib import Path


def any_object(
    store: Path, rng: random.Random, *kinds: str, suffix: tuple[str, ...] | None = None
) -> Path:
    """Return one regular object of the store, of the given kinds and suffixes."""
    found = [
        path
        for path in sorted(store.rglob("*"))
        if path.is_file()
        and not path.is_symlink()
        and (not kinds or path.relative_to(store).parts[0] in kinds)
        and (suffix is None or path.suffix in suffix)
    ]
    return rng.choice(found) if found else store / "_SUCCESS"


def name_of(store: Path, path: Path) -> str:
    """Return the key of an object."""
    return str(path.relative_to(store))
