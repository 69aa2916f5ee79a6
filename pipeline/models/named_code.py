"""Configurations that make the libraries run code from a folder or from the hub."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelError

_CODE = {
    "auto_map": "code in the model folder, which is never run",
    "quantization_config": "quantised weights, which are not supported",
}
"""Maps keys to words of the error message."""


def refuse_code(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ``ModelError`` if the JSON object of a configuration names code to run.

    Such a model may give other results without its code, so the key is not ignored.
    """
    for key in _CODE.keys() & content.keys():
        raise ModelError(
            f"{path}: {key} asks for {_CODE[key]}; remove it if the model works without it"
        )
    # Such a name makes transformers download a kernel from the hub and run it.
    if "/" in str(content.get("attn_implementation")):
        raise ModelError(f"{path}: attn_implementation names code, which is never run; remove it")
