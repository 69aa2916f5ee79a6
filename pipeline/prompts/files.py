"""The files that a path of a source stands for."""

from glob import has_magic
from pathlib import Path

from pipeline.errors import PromptFileError
from pipeline.prompts.formats.arrow import saved_files


def source_files(path: str, split: str | None) -> list[Path]:
    """Return the file itself, the files of a pattern, sorted, or those of a saved folder.

    What exists under its literal name is not a pattern, such as a folder named ``[x]`` in which
    the configuration is. Raises ``PromptFileError`` where there is no such file.
    """
    try:
        return _files(Path(path), split)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise PromptFileError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL in the name
        if isinstance(error, PromptFileError):
            raise
        raise PromptFileError(f"{path}: cannot be read: {error}") from None


def _files(path: Path, split: str | None) -> list[Path]:
    if path.is_dir():
        return saved_files(path, split)
    if path.exists():
        if split is not None:
            raise PromptFileError(f"{path}: a file has no splits; leave split out")
        return [path]
    folder = next((parent for parent in path.parents if parent.is_dir()), None)
    pattern = str(path if folder is None else path.relative_to(folder))
    if folder is None or not has_magic(pattern):
        braces = "; braces are not a pattern: use *, ? and [0-9]" if "{" in pattern else ""
        raise PromptFileError(f"{path}: no such prompt file{braces}")
    found = sorted(file for file in folder.glob(pattern) if not file.is_dir())
    if not found:
        raise PromptFileError(f"{path}: no file is so named")
    if split is not None:
        raise PromptFileError(f"{path}: files have no splits; leave split out")
    if other := [file for file in found if not file.is_file()]:
        raise PromptFileError(f"{other[0]}: a broken link, or not a regular file")
    return found
