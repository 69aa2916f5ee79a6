"""A shipped configuration as the text of a user's own file."""

import json
import re
from pathlib import Path

from pipeline.config.file import bundled_config

_PATH = re.compile(r'^(?P<key>path\s*=\s*)"(?P<value>[^"]*)"', re.MULTILINE)


def starter_text(name: str) -> str:
    """Return a shipped configuration with paths that work wherever the text is written.

    Paths of files that ship with the package become absolute. Other paths, such as
    ``models/hps_v2``, stay relative to the file that the user writes. Raises ``ConfigError`` for an
    unknown name.
    """
    file = bundled_config(name)

    def absolute(found: re.Match[str]) -> str:
        path = file.parent / found["value"]
        # Basic strings of TOML quote as JSON does.
        return found["key"] + json.dumps(str(path.resolve()) if path.exists() else found["value"])

    text = _PATH.sub(absolute, file.read_text(encoding="utf-8"))
    return (
        f"# Copied by `npd init {Path(name).stem}`. `npd options` lists every setting.\n#\n{text}"
    )
