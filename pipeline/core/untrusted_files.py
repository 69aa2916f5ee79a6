"""Files that somebody else made: confinement to their folder, and JSON of bounded size.

Model folders, LoRAs, networks and folders of prompts are downloaded. A link in one could lead to
any file of this machine, and reading a FIFO or a device may never end.
"""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.core.errors import UserError
from pipeline.core.untrusted_patterns import slow_pattern

JSON_BYTES = 64 * 2**20
"""Maximum size of a JSON file or a vocabulary. The largest published tokenizers have 34 MB."""

_VOCABULARIES = ("added_tokens.json", "tokenizer.json", "vocab.json")

_SNAPSHOTS, _BLOBS = "snapshots", "blobs"
"""Folders of a repository in the cache of huggingface_hub. A snapshot links to blobs."""


def check_file(path: Path, error: type[UserError], folder: Path | None = None) -> None:
    """Raise ``error`` unless ``path`` is a regular file.

    With ``folder``, also raise it for a link that leads out of ``folder``. The links of a snapshot
    in the cache of huggingface_hub are allowed.
    """
    try:
        mode = path.stat().st_mode
        target = path.resolve(strict=True)
        places = () if folder is None else (folder.resolve(), *_blobs(folder))
    except (OSError, RuntimeError, ValueError) as fault:  # a loop of links; a NUL in the name
        raise error(f"{path}: cannot be read: {fault}") from None
    if not stat.S_ISREG(mode):
        raise error(f"{path}: not a regular file; replace it by a copy of the file")
    if places and not any(target.is_relative_to(place) for place in places):
        raise error(
            f"{path}: a link to {target}, outside of {folder}; replace it by a copy of the file if "
            "you trust it"
        )


def check_size(path: Path, error: type[UserError], limit: int = JSON_BYTES) -> None:
    """Raise ``error`` for a file of more than ``limit`` bytes."""
    size = path.stat().st_size
    if size > limit:
        raise error(f"{path}: has {size:,} bytes; at most {limit:,} are read from such a file")


def read_json(path: Path, error: type[UserError], limit: int = JSON_BYTES) -> dict[str, Any]:
    """Read a JSON object. Raise ``error`` for anything else, and for more than ``limit`` bytes."""
    check_file(path, error)
    check_size(path, error, limit)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        raise error(f"{path}: not valid JSON: nested too deeply") from None
    except (OSError, ValueError) as fault:
        raise error(f"{path}: not valid JSON: {fault}") from fault
    if not isinstance(content, dict):
        raise error(f"{path}: expected a JSON object, not {type(content).__name__}")
    return content


def check_vocabulary(path: Path, content: dict[str, Any], error: type[UserError]) -> None:
    """Raise ``error`` for a number in a tokenizer's JSON that no vocabulary has.

    Memory is taken for as many words as the largest number. Names of settings must be printable,
    because the tokenizers library prints unknown ones. A regular expression may not be one that can
    take very long.
    """
    if path.name in _VOCABULARIES:
        check_numbers(path, content, error)
    if path.name.startswith("tokenizer"):
        settings = {key: value for key, value in content.items() if key != "model"}
        if strange := [key for key, _ in values_in(settings) if not key.isprintable()]:
            raise error(f"{path}: {strange[0]!r} is not the name of a setting")
        for key, value in values_in(settings):
            if key == "Regex" and isinstance(value, str) and (why := slow_pattern(value)):
                raise error(f"{path}: its regular expression {value[:60]!r} may never end: {why}")


def values_in(content: object) -> Iterator[tuple[str, object]]:
    """Yield every value in nested JSON with its key. Items of a list have the key of the list."""
    # Without recursion: JSON may be nested almost as deeply as Python's stack.
    waiting: list[tuple[str, object]] = [("", content)]
    while waiting:
        key, value = waiting.pop()
        yield key, value
        if isinstance(value, dict):
            waiting += [(str(name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            waiting += [(key, inner) for inner in value]


def check_numbers(
    path: Path, content: object, error: type[UserError], limits: dict[str, int] | None = None
) -> None:
    """Raise ``error`` for an integer in a configuration that no model has.

    Such numbers are sizes and counts, for which memory would be taken. ``limits`` has other limits
    for some keys.
    """
    for key, value in values_in(content):
        limit = (limits or {}).get(key, LARGEST_SIZE)
        if isinstance(value, int) and abs(value) > limit:
            raise error(f"{path}: {key} is {_short(value)}; at most {limit:,} is supported")


LARGEST_SIZE = 2**20
"""Largest integer in the configuration of a network. Vocabularies are the largest real sizes."""


def _short(value: int) -> str:
    # Python refuses to print integers of more than 4,300 digits.
    return f"{value:,}" if abs(value) < 2**64 else f"about 2^{value.bit_length()}"


def _blobs(folder: Path) -> tuple[Path, ...]:
    real = folder.resolve()
    return tuple(
        parent.parent / _BLOBS for parent in (real, *real.parents)[1:] if parent.name == _SNAPSHOTS
    )
