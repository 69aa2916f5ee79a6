"""The folder in which this project keeps files of a user that can be made again."""

import os
from pathlib import Path


def user_cache() -> Path | None:
    """Return this project's folder in the user's cache (``XDG_CACHE_HOME`` or ``~/.cache``).

    It may not exist yet. Return None for a user without a home directory.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not root.is_absolute():  # the XDG specification requires relative paths to be ignored
        try:
            root = Path.home() / ".cache"
        except RuntimeError:
            return None
    return root / "noise-prompt-dataset"
