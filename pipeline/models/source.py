"""From where a configuration says a model is to the files on this machine, and their digest.

A source of the hub is a commit, so its files cannot change; they are taken from the local cache
of huggingface_hub, and only what is missing there is fetched. Its locks let several processes of
a machine want the same file at once. Weights come as safetensors: a pickle is fetched only by
code that asks for it by name and reads it with ``weights_only=True``; code never is.
"""

import shlex
import socket
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.source import SourceConfig
from pipeline.errors import ModelError
from pipeline.identity import file_sha256, files_digest, folder_digest

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

SAFE_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Weights, configurations and tokenizers; neither pickles nor code."""

_NOT = "!"


def locate(
    source: SourceConfig,
    files: Sequence[str] | None = None,
    *,
    fetch: bool = True,
    next_files: Sequence[str] = (),
) -> Path:
    """The folder or file of a source on this machine; it is fetched from the hub if need be.

    ``files`` are the patterns of all files that will be read, as in ``fnmatch``, where a star
    crosses folders, and where ``!`` before a pattern leaves files out; of a repository
    ``SAFE_FILES`` by default. Without ``fetch`` what is not here is an error, even where there is a
    network. Raises ``ModelError``, which says what to fetch, ``next_files`` too, and where to put
    it.
    """
    if source.hub is not None:
        return _fetched(source, SAFE_FILES if files is None else files, fetch, next_files)
    assert source.path is not None, "checked by the configuration"
    place = Path(source.path) if source.file is None else Path(source.path, source.file)
    if not place.exists():
        kind = "file" if source.file is not None or place.suffix else "folder"
        raise ModelError(
            f"{place}: no such model {kind} on {socket.gethostname()}; put the model's files there"
        )
    return place


def source_digest(source: SourceConfig, files: Sequence[str] | None = None) -> str:
    """SHA-256 of what is used of a source: of its file, or of names and contents of its files.

    The same files have the same digest wherever they came from. Without ``files``, those are all
    files of a local folder, and ``SAFE_FILES`` of a repository. Raises ``ModelError``.
    """
    place = locate(source, files)
    if place.is_file():
        return file_sha256(place)
    if files is None:
        if source.hub is None:
            return folder_digest(place)
        files = SAFE_FILES
    return files_digest(place, matching(place, files))


def matching(folder: Path, files: Sequence[str]) -> list[Path]:
    """The files of a folder that match a pattern, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and _matches(path.relative_to(folder).as_posix(), files)
    )


def _matches(name: str, files: Sequence[str]) -> bool:
    wanted, left_out = _split(files)
    return any(fnmatchcase(name, pattern) for pattern in wanted) and not any(
        fnmatchcase(name, pattern) for pattern in left_out
    )


def _split(files: Sequence[str]) -> tuple[list[str], list[str]]:
    """The patterns of what is wanted, and of what is left out of it."""
    left_out = [pattern.removeprefix(_NOT) for pattern in files if pattern.startswith(_NOT)]
    return [pattern for pattern in files if not pattern.startswith(_NOT)], left_out


def _fetched(
    source: SourceConfig, files: Sequence[str], fetch: bool, next_files: Sequence[str]
) -> Path:
    # Half a second, which reading a configuration should not cost.
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    assert source.hub is not None and source.revision is not None
    wanted, left_out = _split(files)
    advice = _by_hand(source, (*files, *next_files))
    try:
        if source.file is None:
            folder = snapshot_download(
                source.hub,
                revision=source.revision,
                allow_patterns=wanted,
                ignore_patterns=left_out,
                local_files_only=not fetch,
            )
            return Path(folder)
        if not _matches(source.file, files):
            raise ModelError(
                f"{source}: only files like {', '.join(files)} are read here; pickles and code "
                "are not"
            )
        return Path(
            hf_hub_download(
                source.hub, source.file, revision=source.revision, local_files_only=not fetch
            )
        )
    except HfHubHTTPError as error:
        raise ModelError(f"{_refusal(source, error)} {advice}") from error
    except (LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"{source}: not on {socket.gethostname()}"
            f"{f', and it cannot be fetched: {error}' if fetch else '.'} {advice}"
        ) from error


def _refusal(source: SourceConfig, error: "HfHubHTTPError") -> str:
    from huggingface_hub.errors import GatedRepoError

    hint = ""
    if isinstance(error, GatedRepoError):
        hint = " Accept its licence on its page, and set HF_TOKEN to a token of that account."
    return f"{source}: the hub refuses it: {str(error).strip()}{hint}"


def _by_hand(source: SourceConfig, files: Sequence[str]) -> str:
    """What to do where there is a network, and how the files come here."""
    assert source.hub is not None and source.revision is not None
    what = [source.file] if source.file is not None else []
    wanted, left_out = _split(files)
    only = [] if what else [f"--include={pattern}" for pattern in wanted]
    only += [] if what else [f"--exclude={pattern}" for pattern in left_out]
    command = shlex.join(
        ["hf", "download", source.hub, *what, "--revision", source.revision, *only]
    )
    return (
        f"Where there is a network, run `{command} --local-dir FOLDER`, put FOLDER on every "
        "machine that computes, and set path to it in place of hub and revision."
    )
