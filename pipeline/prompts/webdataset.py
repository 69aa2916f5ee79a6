"""webdataset: tar files whose members form samples by their names up to the first dot.

Read with the standard library, which skips over images without reading them.
"""

import lzma
import re
import tarfile
import zlib
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.jsonl import json_object, text_field
from pipeline.prompts.text_file import LONGEST

# As webdataset takes them: a member without a suffix, or with a name that begins with a dot, is of
# no sample, and neither is what lies under __meta__.
_NAME = re.compile(r"((?:.*/|)[^.]+)\.([^/]*)", re.DOTALL)
_META = re.compile(r"__[^/]*__(?:$|/)")


def read_webdataset(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """Yield the prompt of each sample; None where it has no such member.

    Raises ``PromptFileError``, also where no sample of the file has the member, and for a tar that
    does not end where its end is marked.
    """
    wanted = source.member.removeprefix(".").lower()
    suffixes: set[str] = set()
    try:
        with tarfile.open(path) as tar:
            for _, sample in groupby(_parts(tar), key=lambda part: part[0]):
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
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise PromptFileError(f"{path}: not a tar file, cut off or damaged: {error}") from error
    if wanted not in suffixes:
        has = ", ".join(sorted(suffixes)) or "nothing"
        raise PromptFileError(f"{path}: no member .{wanted} in any sample; has {has}; set member")


def _parts(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """Yield the sample's key, the suffix and the member of what belongs to samples."""
    for member in tar:
        name = _NAME.fullmatch(member.name)
        is_file = member.isfile() or member.islnk() or member.issym()
        if is_file and name is not None and not _META.match(member.name):
            yield name[1], name[2].lower(), member


def _prompt(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, field: str) -> str | None:
    where = f"{path}: {member.name}"
    try:
        file = tar.extractfile(member)
    except KeyError:
        raise PromptFileError(f"{where}: a link to what the tar does not hold") from None
    if file is None:
        raise PromptFileError(f"{where}: a link to a folder")
    data = file.read(LONGEST + 1)
    if len(data) > LONGEST:
        raise PromptFileError(f"{where}: more than {LONGEST:,} bytes; set member to the prompt's")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{where}: not UTF-8 ({error.reason})") from None
    is_json = member.name.lower().rpartition(".")[2] == "json"
    return text_field(json_object(text, where), field, where) if is_json else text


def _check_end(path: Path, tar: tarfile.TarFile) -> None:
    """Check that the tar ends with its mark, blocks of zeros, and that nothing follows it.

    ``tarfile`` takes a damaged header, and the end of a file that was cut off, for the end too.
    """
    file = tar.fileobj
    assert file is not None, "the tar is open"
    file.seek(tar.offset)
    marked = 0
    while block := file.read(tarfile.BLOCKSIZE):
        if block.strip(b"\0"):
            if marked:
                raise PromptFileError(
                    f"{path}: more follows the end of the tar; are these several in one file? "
                    "Split them, and name them by a pattern"
                )
            raise tarfile.ReadError(f"damaged header at byte {tar.offset}")
        marked += len(block)
    if marked < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("the mark of its end is missing")
