"""Objects with known content, read through a cache."""

import hashlib
from pathlib import Path

from pipeline.reader import Cache

SIZE = 1000
"""Size of an object in bytes."""


def content(name: str, num_bytes: int = SIZE) -> bytes:
    """Return the bytes of an object, which repeat its name."""
    return (name * num_bytes).encode()[:num_bytes]


def digest(name: str, num_bytes: int = SIZE) -> str:
    """Return the SHA-256 of an object."""
    return hashlib.sha256(content(name, num_bytes)).hexdigest()


def read(cache: Cache, name: str, num_bytes: int = SIZE) -> bool:
    """Read an object through a cache. Return True if it was downloaded."""

    def fetch(start: int, length: int) -> bytes:
        fetched.append(start)
        return content(name, num_bytes)[start : start + length]

    fetched: list[int] = []
    with cache.open(digest(name, num_bytes), num_bytes, fetch) as file:
        assert file.read() == content(name, num_bytes)
    return bool(fetched)


def files(folder: Path) -> set[str]:
    """Return the names of the files in a cache folder, without the lock."""
    return {path.name for path in folder.iterdir() if not path.name.startswith(".")}
