"""Names and temporary files in the folders of a local store."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pipeline.storage.durable import TEMP_PREFIX
from pipeline.storage.local_errors import local_error
from pipeline.storage.object_store import RESERVED


def temporary_files(root: Path) -> Iterator[Path]:
    """Yield all files of ``temp_file`` below a folder, without following links."""
    folders = [root]
    while folders:
        with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(Path(entry))
                elif entry.name.startswith(TEMP_PREFIX):
                    yield Path(entry)


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, folders with a trailing '/', in the order of their keys.

    The '/' gives the right order: 'a-b' sorts before 'a/b', although 'a' sorts before 'a-b'.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(
                f"{entry.name}/" if entry.is_dir(follow_symlinks=False) else entry.name
                for entry in entries
                if not entry.name.startswith(RESERVED)
                # A linked folder could form a loop. is_dir is False for a link to itself.
                and not (entry.is_symlink() and Path(entry).is_dir())
            )
    except (FileNotFoundError, NotADirectoryError):
        return []  # does not exist, or was deleted during the walk
    except OSError as error:
        raise local_error("list", folder, error) from error
