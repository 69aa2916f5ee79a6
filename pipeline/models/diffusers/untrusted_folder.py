"""Checks of a model folder that somebody else made, before a library reads it.

The libraries follow links, names of shards and names of code, and take the memory that a
configuration asks for. Here, a model consists of the regular files that its digest covers, names no
code, and declares no sizes that no model has.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import (
    check_file,
    check_numbers,
    check_size,
    read_json,
)
from pipeline.core.weight_files import WeightSizes
from pipeline.models.diffusers.components import CONFIG
from pipeline.models.diffusers.model_index import CONFIG_BYTES, INDEX
from pipeline.models.named_code import refuse_code

_SHARDS = ".safetensors.index.json"
_CONFIGS = (CONFIG, "scheduler_config.json")

_LARGEST = {"sample_size": 1024}
"""Largest values of keys from which the size of an image follows: 8,192 pixels for most models."""

_ADAPTER = "adapter_config.json"
"""Makes transformers read another model, which it names."""


def check_folder(folder: Path, files: Iterable[Path]) -> None:
    """Check the ``files`` of a model folder.

    Raises ``ModelError`` for a link out of the folder, for a list of shards that names other files,
    for code, and for JSON that is damaged, too large or declares impossible sizes.
    """
    known = set(files)
    for path in sorted(known):
        check_file(path, ModelError, folder)
        if path.name == _ADAPTER:
            raise ModelError(
                f"{path}: a LoRA inside a model folder is not read; use [[model.loras]], or remove "
                "the file"
            )
        if path.suffix == ".json":
            _check_json(path, known)
        elif path.suffix != ".safetensors":
            check_size(path, ModelError)


def weights_in(folder: Path, files: Iterable[Path]) -> WeightSizes:
    """Return what the weight files in the ``folder`` of a component hold.

    Raises ``ModelError`` if there are none, or if one is damaged.
    """
    weights = [path for path in files if path.parent == folder and path.suffix == ".safetensors"]
    if not weights:
        raise ModelError(
            f"{folder}: has no .safetensors files, and pickles (.bin, .pt, .ckpt) are never read; "
            "put the weights there as safetensors"
        )
    return WeightSizes.of_files(weights)


def _check_json(path: Path, known: set[Path]) -> None:
    is_config = path.name in (INDEX, *_CONFIGS)
    content = read_json(path, ModelError, *((CONFIG_BYTES,) if is_config else ()))
    refuse_code(path, content)
    if path.name in _CONFIGS:
        check_numbers(path, content, ModelError, _LARGEST)
    if path.name.endswith(_SHARDS):
        _check_shards(path, content, known)


def _check_shards(path: Path, content: Mapping[str, Any], known: set[Path]) -> None:
    named = content.get("weight_map")
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise ModelError(f"{path}: lists no files under weight_map; fetch it again")
    # Only these files are part of the digest. Another name could be a pickle or in another folder.
    for name in sorted(set(named.values())):
        if path.parent / name not in known or "/" in name or not name.endswith(".safetensors"):
            raise ModelError(
                f"{path}: names the weights {name!r}, which are not a .safetensors file of this "
                "variant in the same folder; fetch the model again"
            )
