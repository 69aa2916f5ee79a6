"""Digests, ids and seeds that depend on content alone, and so are the same on every machine."""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from pipeline.core.records import Split

SEEDS = 2**32
"""Number of possible seeds. The CPU generator of torch reads only the low 32 bits of a seed."""


def canonical_json(value: object) -> bytes:
    """Serialize a value to unique bytes: sorted keys, no spaces, UTF-8, finite numbers only."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def readable_json(value: object) -> bytes:
    """Serialize a value like ``canonical_json``, indented for people."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def sha256(data: bytes) -> str:
    """Return the hexadecimal SHA-256 of ``data``."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a file, reading it in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(digest: str) -> str:
    """Return the first 64 bits of a digest, which are used in names."""
    return digest[:16]


def folder_digest(folder: Path, digest: Callable[[Path], str] = file_sha256) -> str:
    """Return the SHA-256 over the names and contents of the files in a model folder.

    Hidden files and Markdown are ignored, because an edited model card does not change the model.
    ``digest`` returns the SHA-256 of a file.
    """
    return files_digest(
        folder,
        (
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".md" and not _hidden(path.relative_to(folder))
        ),
        digest,
    )


def files_digest(
    folder: Path, files: Iterable[Path], digest: Callable[[Path], str] = file_sha256
) -> str:
    """Return the SHA-256 over the contents of ``files`` and their names relative to ``folder``.

    ``digest`` returns the SHA-256 of a file.
    """
    names = {path.relative_to(folder).as_posix(): digest(path) for path in files}
    return sha256(canonical_json(names))


def _hidden(path: Path) -> bool:
    # Python writes __pycache__ when a module is imported, which must not change a digest.
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def normalise_prompt(text: str) -> str:
    """Normalise a prompt to Unicode NFC with single spaces, so equal-looking prompts are equal."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def prompt_id(prompt: str) -> str:
    """Return the id of a normalised prompt."""
    return short(sha256(prompt.encode()))


def seeds_for(root_seed: int, prompt: str, count: int) -> list[int]:
    """Return ``count`` distinct seeds of a prompt (by id), each in [0, 2**32).

    The seeds depend on the root seed and the prompt alone, and are a prefix of every longer list.
    Adding prompts or seeds later therefore keeps the existing seeds.
    """
    return seeds_apart(f"{root_seed}/{prompt}", count)


def seeds_apart(name: str, count: int, taken: Collection[int] = ()) -> list[int]:
    """Return ``count`` distinct seeds derived from a name, in [0, 2**32) and not in ``taken``.

    The seeds are a prefix of every longer list.
    """
    seeds: dict[int, None] = {}
    draw = 0
    while len(seeds) < count:
        digest = hashlib.sha256(f"{name}/{draw}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        # With 32 bits, draws do repeat. Skipping them keeps the seeds distinct.
        if seed not in taken:
            seeds.setdefault(seed)
        draw += 1
    return list(seeds)


def is_sampled(sample_id: str, share: float) -> bool:
    """Return True if a candidate (by sample id) is in a random sample of the given share.

    The result depends on the id alone. The sample of a smaller share is part of that of a larger
    one.
    """
    return _position(f"judging/{sample_id}") < share


def split_for(prompt: str, fractions: Mapping[Split, float]) -> Split:
    """Return the split of a prompt (by id), from its hash and the cumulative fractions.

    The split depends on the prompt alone, so no prompt is in two splits when several plans share a
    data set.
    """
    position = _position(f"split/{prompt}")
    edge = 0.0
    for split in Split:
        edge += fractions[split]
        if position < edge:
            return split
    # Through rounding the fractions may add up to slightly less than 1. Positions beyond the last
    # edge are training data.
    return Split.TRAIN


def _position(name: str) -> float:
    """Return a number in [0, 1], uniformly distributed over names."""
    return int(sha256(name.encode())[:16], 16) / 2**64
