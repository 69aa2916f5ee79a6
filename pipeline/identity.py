"""Names that follow from content: the same input has the same name on every machine."""

import hashlib
import json
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from pipeline.records import Split

SEEDS = 2**32
"""Seeds lie below this: torch's CPU generator reads only the low 32 bits of one."""


def canonical_json(value: object) -> bytes:
    """One byte string for one value: sorted keys, no spaces, UTF-8, finite numbers only."""
    text = json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )
    return text.encode()


def readable_json(value: object) -> bytes:
    """Like ``canonical_json``, laid out for people."""
    text = json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    return text.encode() + b"\n"


def sha256(data: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(data).hexdigest()


def file_sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def short(digest: str) -> str:
    """The 64 bits of a digest that go into names."""
    return digest[:16]


def folder_digest(folder: Path) -> str:
    """SHA-256 over the names and contents of a model folder's files.

    Hidden files and Markdown do not count: a better model card is not another model.
    """
    return files_digest(
        folder,
        (
            path
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".md" and not _hidden(path.relative_to(folder))
        ),
    )


def files_digest(folder: Path, files: Iterable[Path]) -> str:
    """SHA-256 over the names, relative to ``folder``, and contents of some of its files."""
    names = {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}
    return sha256(canonical_json(names))


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.parts)


def normalise_prompt(text: str) -> str:
    """Unicode NFC, white space collapsed: prompts that read alike are one prompt."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def prompt_id(prompt: str) -> str:
    """Name of a normalised prompt."""
    return short(sha256(prompt.encode()))


def seeds_for(root_seed: int, prompt: str, count: int) -> list[int]:
    """``count`` distinct seeds of one prompt (by id), each in [0, 2**32).

    A function of the root seed and the prompt alone, and a prefix of every longer list: adding
    prompts or seeds later leaves the seeds that were there.
    """
    return seeds_apart(f"{root_seed}/{prompt}", count)


def seeds_apart(name: str, count: int, taken: Collection[int] = ()) -> list[int]:
    """``count`` distinct seeds that follow from a name, each in [0, 2**32) and none of ``taken``.

    A prefix of every longer list.
    """
    seeds: list[int] = []
    draw = 0
    while len(seeds) < count:
        digest = hashlib.sha256(f"{name}/{draw}".encode()).digest()
        seed = int.from_bytes(digest[:4], "big")
        if seed not in seeds and seed not in taken:
            seeds.append(seed)
        draw += 1
    return seeds


def split_for(prompt: str, fractions: Mapping[Split, float]) -> Split:
    """The split of a prompt (by id): a hash against the cumulative fractions.

    It depends on the prompt alone, so that no prompt is in two splits, however many plans share a
    data set.
    """
    position = int(sha256(f"split/{prompt}".encode())[:16], 16) / 2**64
    edge = 0.0
    for split in Split:
        edge += fractions[split]
        if position < edge:
            return split
    # The fractions add up to 1 but for rounding; what falls behind the last edge is training data.
    return Split.TRAIN
