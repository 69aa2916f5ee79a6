"""SHA-256 of large model files, computed once per machine and kept in the user's cache folder.

A plan and every worker need the digests of all model files, and FLUX.1 has 24 GB of them. A digest
is kept with the file's device, inode, size and times, and is used again while all of them are the
same. The time of the last change of the inode (ctime) is among them. Programs can restore the time
of the last write after they replace a file, but not this one.

Limits: a change is not seen if the file system does not report it in these attributes (some that
are mounted with FUSE), if the clock is set back to the same nanosecond, or if a program has the
file mapped for writing. ``NPD_HASH_MODELS=always`` reads all files each time.
"""

import json
import logging
import os
import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from time import time_ns
from typing import BinaryIO

from pipeline.core.errors import UserError
from pipeline.core.identity import canonical_json, file_sha256, sha256
from pipeline.storage.file_lock import locked
from pipeline.storage.user_cache import user_cache

logger = logging.getLogger(__name__)

HASH_MODELS = "NPD_HASH_MODELS"
"""Environment variable. ``always`` neither uses nor keeps digests."""

_SMALLEST = 16 * 2**20
"""Size in bytes from which digests are kept. Smaller files are read in milliseconds."""

_SETTLED_NS = 2 * 10**9
"""Age of a file's last change from which its digest is kept. File systems count time in steps of up
to 2 s, so a younger file may still change without another time."""

_RECORD_BYTES = 4096

Attributes = dict[str, int]


def kept_sha256(path: Path) -> str:
    """Return the hexadecimal SHA-256 of a model file, from the cache if the file is unchanged.

    Of several processes that need the digest of a file at the same time, one computes it and the
    others wait. Without a usable cache folder, the file is read. Raises ``UserError`` for another
    value of ``NPD_HASH_MODELS`` than ``always``.
    """
    wanted = os.environ.get(HASH_MODELS, "")
    if wanted not in ("", "always"):
        raise UserError(f"{HASH_MODELS} is {wanted!r}; set it to 'always', or unset it")
    if wanted or path.stat().st_size < _SMALLEST:
        return file_sha256(path)
    with ExitStack() as stack:
        try:
            record = stack.enter_context(_locked_record(path))
        except OSError as error:
            _warn(str(error))
            return file_sha256(path)
        before, begin = _attributes(path), time_ns()
        if (kept := _read(record, before)) is not None:
            return kept
        digest = file_sha256(path)
        # A file that changes while it is read has neither its old nor its new digest.
        if begin - before["ctime_ns"] >= _SETTLED_NS and before == _attributes(path):
            try:
                _write(record, before, digest)
            except OSError as error:
                _warn(str(error))
        return digest


def _attributes(path: Path) -> Attributes:
    found = path.stat()
    return {
        "device": found.st_dev,
        "inode": found.st_ino,
        "size": found.st_size,
        "mtime_ns": found.st_mtime_ns,
        "ctime_ns": found.st_ctime_ns,
    }


@contextmanager
def _locked_record(path: Path) -> Iterator[BinaryIO]:
    """Open and lock the record of a model file. Raise ``OSError`` if the cache cannot be used."""
    # Several machines may share a home directory, and have other files at the same path.
    name = sha256(f"{socket.gethostname()}\0{path.resolve()}".encode())[:32]
    file = _folder() / f"{name}.json"
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "r+b", buffering=0) as record:
        _refuse_others(os.fstat(descriptor), file, stat.S_ISREG)
        wait = f"waiting for another process that computes the digest of {path}"
        with locked(record, when_long=lambda: logger.info("%s", wait)):
            yield record


def _folder() -> Path:
    """Return the folder of the records of this user, which no other user can write to."""
    root = user_cache()
    if root is None:
        raise FileNotFoundError("this user has no home directory")
    # Users may share the cache of shards, whose content is checked against digests. Records cannot
    # be checked, so each user has a folder.
    folder = root / f"digests-{os.getuid()}"
    root.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    _refuse_others(folder.lstat(), folder, stat.S_ISDIR)
    return folder


def _refuse_others(found: os.stat_result, path: Path, is_kind: Callable[[int], bool]) -> None:
    """Raise ``PermissionError`` for what other users could have written."""
    if not is_kind(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise PermissionError(f"{path} is not a file or folder that only this user can write to")


def _read(record: BinaryIO, attributes: Attributes) -> str | None:
    """Return the digest in a record if it is of a file with these attributes."""
    try:
        content = json.loads(record.read(_RECORD_BYTES))
    except (OSError, RecursionError, ValueError):  # new, damaged or incomplete
        return None
    digest = content.get("sha256") if isinstance(content, dict) else None
    return digest if isinstance(digest, str) and content == _record(attributes, digest) else None


def _write(record: BinaryIO, attributes: Attributes, digest: str) -> None:
    record.seek(0)
    record.truncate()
    record.write(canonical_json(_record(attributes, digest)))


def _record(attributes: Attributes, digest: str) -> dict[str, object]:
    content: dict[str, object] = {"sha256": digest, "attributes": attributes}
    # Shows that a record was written completely and is not damaged.
    return content | {"check": sha256(canonical_json(content))}


@cache
def _warn(reason: str) -> None:
    logger.warning(
        "digests of model files cannot be kept, so every command and worker reads all files: %s",
        reason,
    )
