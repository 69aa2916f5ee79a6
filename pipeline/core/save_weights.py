"""Writing of safetensors files, with errors of the system that other code can handle."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def save_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors to a safetensors file. Raise ``OSError`` if it cannot be written."""
    try:
        save_file(dict(tensors), path)
    except SafetensorError as error:
        # The library keeps the number of the system's error in its text alone.
        if found := _SYSTEM_ERROR.search(str(error)):
            number = int(found[1])
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
