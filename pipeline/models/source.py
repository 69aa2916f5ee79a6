"""Locating the files of a configured model on this machine, and their digest.

A source on the hub is pinned to a commit, so its files cannot change. They are read from the local
cache of huggingface_hub, and only missing files are fetched. Its locks make this safe for several
processes of a machine. Weights are safetensors. A pickle is fetched only by callers that name it
and read it with ``weights_only=True``. Code is never fetched.
"""

import shlex
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from pipeline.config.section import SourceConfig
from pipeline.core.errors import ModelError
from pipeline.core.identity import files_digest, folder_digest
from pipeline.core.untrusted_files import check_file
from pipeline.models.kept_digests import kept_sha256
from pipeline.storage.proxies import proxy_note

if TYPE_CHECKING:
    from huggingface_hub.errors import HfHubHTTPError

SAFE_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")
"""Patterns of weights, configurations and tokenizers, without pickles and code."""

_NOT = "!"


class OnThisMachine:
    """Base class of files that were located on this machine. They cannot be pickled."""

    def __reduce__(self) -> NoReturn:
        # Another machine may have other files at the same place, and must not trust these digests.
        raise TypeError(
            f"a {type(self).__name__} is of this machine; send its configuration instead"
        )


@dataclass(frozen=True, kw_only=True)
class ResolvedSource(OnThisMachine):
    """A configured source and its files on this machine."""

    config: SourceConfig
    place: Path
    """Folder or file."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, or of the names and contents of the files in the folder.

        It covers all files of a local folder, and ``SAFE_FILES`` of a repository.
        """
        if not self.place.is_dir():
            check_file(self.place, ModelError)
            return kept_sha256(self.place)
        if self.config.hub is None:
            for path in sorted(self.place.rglob("*")):
                if path.is_file():
                    check_file(path, ModelError, self.place)
            return folder_digest(self.place, kept_sha256)
        # The cache of the hub may also have files that another program fetched.
        return files_digest(self.place, matching(self.place, SAFE_FILES), kept_sha256)


def resolve_source(config: SourceConfig) -> ResolvedSource:
    """Locate the files of a source, as ``locate`` does. Raises ``ModelError``."""
    return ResolvedSource(config=config, place=locate(config))


def locate(
    source: SourceConfig,
    files: Sequence[str] | None = None,
    *,
    fetch: bool = True,
    next_files: Sequence[str] = (),
) -> Path:
    """Return the folder or file of a source on this machine, fetched from the hub if necessary.

    ``files`` are ``fnmatch`` patterns of all files that will be read. A star also matches slashes,
    and ``!`` before a pattern excludes files. The default for a repository is ``SAFE_FILES``.
    Without ``fetch``, nothing is downloaded and missing files are an error. Raises ``ModelError``
    with a command that fetches ``files`` and ``next_files``, and with the place to put them.
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


def matching(folder: Path, files: Sequence[str]) -> list[Path]:
    """Return the files of a folder that match the patterns, sorted."""
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
    """Split patterns into those that include files and those that exclude them."""
    left_out = [pattern.removeprefix(_NOT) for pattern in files if pattern.startswith(_NOT)]
    return [pattern for pattern in files if not pattern.startswith(_NOT)], left_out


def _fetched(
    source: SourceConfig, files: Sequence[str], fetch: bool, next_files: Sequence[str]
) -> Path:
    # Importing this takes half a second, so modules that only read a configuration do not.
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
        # A single file is fetched by name, past the patterns, so it is checked here.
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
        why = f", and it cannot be fetched: {str(error).rstrip('.')}{hub_proxy_note()}"
        raise ModelError(
            f"{source}: not on {socket.gethostname()}{why if fetch else ''}. {advice}"
        ) from error


def hub_proxy_note() -> str:
    """Return a sentence about the proxy of requests to the hub; empty without one and offline."""
    from huggingface_hub import constants

    return "" if constants.HF_HUB_OFFLINE else proxy_note(constants.ENDPOINT, also_all=True)


def _refusal(source: SourceConfig, error: "HfHubHTTPError") -> str:
    from huggingface_hub.errors import GatedRepoError

    hint = ""
    if isinstance(error, GatedRepoError):
        hint = " Accept its licence on its page, and set HF_TOKEN to a token of that account."
    return f"{source}: the hub refused the request: {str(error).strip()}{hint}"


def _by_hand(source: SourceConfig, files: Sequence[str]) -> str:
    """Return the instructions for fetching the files by hand."""
    assert source.hub is not None and source.revision is not None
    what = [source.file] if source.file is not None else []
    wanted, left_out = _split(files)
    only = [] if what else [f"--include={pattern}" for pattern in wanted]
    only += [] if what else [f"--exclude={pattern}" for pattern in left_out]
    command = shlex.join(
        ["hf", "download", source.hub, *what, "--revision", source.revision, *only]
    )
    return (
        f"On a machine with a network, run `{command} --local-dir FOLDER`, copy FOLDER to every "
        "machine that computes, and set path to it instead of hub and revision."
    )
