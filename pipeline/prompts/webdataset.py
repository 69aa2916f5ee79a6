"""webdataset files: tar archives in which members with the same name form a sample.

The name of a sample ends at the first dot. The tar module of the standard library skips images
without reading them.
"""

import gzip
import io
import re
import struct
import tarfile
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.core.untrusted_files import check_file
from pipeline.prompts.jsonl import json_object, text_field
from pipeline.prompts.limits import LONGEST, Expansion

# The rules of webdataset: members without a suffix, members whose name begins with a dot, and those
# under __meta__ belong to no sample.
_NAME = re.compile(r"((?:.*/|)[^.]+)\.([^/]*)", re.DOTALL)
MOST_MEMBERS = 500_000
"""Maximum number of members in a tar. Each takes about 1 KB of memory."""

_SUFFIXES_SHOWN = 20

_LONGEST_END = 2**26
"""Most bytes of the zeros at the end. Programs write up to 1 MiB."""

_GZIP = b"\x1f\x8b"

# Errors of the tar module for headers that no program writes.
_DAMAGED = (
    *(tarfile.TarError, EOFError, LookupError, OSError, OverflowError, RecursionError),
    *(struct.error, ValueError, zlib.error),
)

_META = re.compile(r"__[^/]*__(?:$|/)")


def read_webdataset(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each sample, or None if the sample has no such member.

    Raise ``PromptFileError``, also if no sample of the file has the member, if the tar does not end
    at its end mark, or if it expands too much.
    """
    check_file(path, PromptFileError)
    wanted = source.member.removeprefix(".").lower()
    suffixes: set[str] = set()
    try:
        with (
            path.open("rb") as file,
            tarfile.open(fileobj=_tar_bytes(path, file), mode="r:") as tar,
        ):
            for _, sample in groupby(_parts(path, tar), key=lambda part: part[0]):
                members: dict[str, tarfile.TarInfo] = {}
                for _, suffix, member in sample:
                    if suffix in members:
                        raise PromptFileError(
                            f"{path}: {member.name}: the sample has two members .{suffix}"
                        )
                    members[suffix] = member
                suffixes |= members.keys()
                found = members.get(wanted)
                yield None if found is None else _prompt(path, tar, found, source.column)
            _check_end(path, tar)
    except _DAMAGED as error:
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(
            f"{path}: not a tar file, or truncated or damaged: {error}"
        ) from error
    if wanted not in suffixes:
        has = ", ".join(sorted(suffixes)[:_SUFFIXES_SHOWN]) or "nothing"
        raise PromptFileError(f"{path}: no member .{wanted} in any sample; has {has}; set member")


class _TarBytes(io.RawIOBase):
    """Bytes of a tar, decompressed if necessary, with limits on what is read."""

    def __init__(self, path: Path, file: BinaryIO, expansion: Expansion | None) -> None:
        self._path, self._file, self._expansion = path, file, expansion

    def read(self, size: int = -1, /) -> bytes:
        """Read bytes. Raise ``PromptFileError`` for a header that claims to be large."""
        if not 0 <= size <= LONGEST + tarfile.RECORDSIZE:
            raise PromptFileError(f"{self._path}: has a header of {size:,} bytes; it is damaged")
        data = self._file.read(size)
        self._spend(len(data))
        return data

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move to an absolute position."""
        assert whence == io.SEEK_SET, "the tar module uses no other"
        # A gzip stream is decompressed up to the position, backwards from its beginning.
        start = self._file.tell()
        self._spend(offset - start if offset >= start else offset)
        return self._file.seek(offset)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def _spend(self, size: int) -> None:
        if self._expansion is not None:
            self._expansion.spend(size)


def _tar_bytes(path: Path, file: BinaryIO) -> _TarBytes:
    is_packed = file.read(len(_GZIP)) == _GZIP
    file.seek(0)
    if not is_packed:
        return _TarBytes(path, file, None)
    unpacked: BinaryIO = gzip.GzipFile(fileobj=file)  # type: ignore[assignment]  # lacks name, fileno
    return _TarBytes(path, unpacked, Expansion.of(path))


def _parts(path: Path, tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yield sample name, suffix and member for each member that belongs to a sample."""
    for number, member in enumerate(tar):
        if number >= MOST_MEMBERS:
            raise PromptFileError(
                f"{path}: has more than {MOST_MEMBERS:,} members; split it into several tars"
            )
        name = _NAME.fullmatch(member.name)
        is_file = member.isfile() or member.islnk() or member.issym()
        if is_file and name is not None and not _META.match(member.name):
            yield name[1], name[2].lower(), member


def _prompt(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, field: str) -> str | None:
    where = f"{path}: {member.name}"
    try:
        file = tar.extractfile(member)
    except KeyError:
        raise PromptFileError(f"{where}: a link to a member that is not in the tar") from None
    if file is None:
        raise PromptFileError(f"{where}: a link to a folder")
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise PromptFileError(
            f"{where}: more than {LONGEST:,} bytes; set member to that of the prompt"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{where}: not UTF-8 ({error.reason})") from None
    is_json = member.name.lower().rpartition(".")[2] == "json"
    return text_field(json_object(text, where), field, where) if is_json else text


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Check that the tar ends with its end mark, blocks of zeros, and that nothing follows it."""
    # tarfile also treats a damaged header, and the end of a truncated file, as the end of the tar.
    file = tar.fileobj
    assert file is not None, "the tar is open"
    file.seek(tar.offset)
    marked = 0
    while block := file.read(tarfile.BLOCKSIZE):
        if block.strip(b"\0"):
            if marked:
                raise PromptFileError(
                    f"{path}: data follows the end of the tar; if these are several tars in one "
                    "file, split them and use a pattern"
                )
            raise tarfile.ReadError(f"damaged header at byte {tar.offset}")
        marked += len(block)
        if marked > _LONGEST_END:
            raise PromptFileError(f"{path}: its end mark has more than {_LONGEST_END:,} bytes")
    if marked < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the end mark is missing")
