"""webdataset: tar files whose members form samples by their names up to the first dot.

Read with the standard library, which skips over images without reading them.
"""

import tarfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from pipeline.config.prompts import PromptSourceConfig
from pipeline.errors import PromptFileError
from pipeline.prompts.formats.jsonl import json_field


def read_webdataset(path: Path, source: PromptSourceConfig) -> Iterator[str | None]:
    """A row a sample; one without the member has no prompt.

    Raises ``PromptFileError``, also where no sample of the file has the member.
    """
    wanted = source.member.removeprefix(".")
    suffixes: set[str] = set()
    try:
        with tarfile.open(path) as tar:
            files = (member for member in tar if member.isfile())
            for _, sample in groupby(files, key=lambda member: _parts(member.name)[0]):
                members = {_parts(member.name)[1]: member for member in sample}
                suffixes |= members.keys()
                found = members.get(wanted)
                yield None if found is None else _prompt(path, tar, found, source.column)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise PromptFileError(f"{path}: not a tar file, cut off or damaged: {error}") from error
    if wanted not in suffixes:
        has = ", ".join(sorted(suffixes)) or "nothing"
        raise PromptFileError(f"{path}: no member .{wanted} in any sample; has {has}; set member")


def _parts(name: str) -> tuple[str, str]:
    """Key of the sample and suffix, as webdataset takes them: at the first dot of the last part."""
    folder, slash, last = name.rpartition("/")
    key, _, suffix = last.partition(".")
    return f"{folder}{slash}{key}", suffix


def _prompt(path: Path, tar: tarfile.TarFile, member: tarfile.TarInfo, field: str) -> str | None:
    file = tar.extractfile(member)
    assert file is not None, "a regular file"
    where = f"{path}: {member.name}"
    try:
        text = file.read().decode()
    except UnicodeDecodeError as error:
        raise PromptFileError(f"{where}: not UTF-8 ({error.reason})") from None
    is_json = member.name.rpartition(".")[2] == "json"
    return json_field(text, field, where) if is_json else text
