"""Reading a LoRA file: pairs of factors, and the strength of each pair.

A layer's weight changes by Δ = (α / r) · B · A, with A = ``down`` (r, in), B = ``up`` (out, r).
Supported formats are those of kohya's scripts (``lora_down``, ``lora_up``, ``alpha``), of diffusers
(``lora_A``, ``lora_B``, with α in the file's metadata) and of older diffusers (``lora.down``).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from pipeline.core.errors import ModelError
from pipeline.core.weight_files import check_weights
from pipeline.models.diffusers.components import some

_DOWN = (".lora_down.weight", ".lora_A.weight", ".lora_A.default.weight", ".down.weight")
_UP = (".lora_up.weight", ".lora_B.weight", ".lora_B.default.weight", ".up.weight")
_ALPHA = (".alpha",)
_OLDER = (".lora_linear_layer", "_lora", ".lora")
"""Suffixes of layer names in older formats; they precede ``.down.weight``."""

_LAYERS = re.compile(r"[\w.$^|\\-]+")
"""Names of layers in a pattern of the metadata: no repetitions."""

_LARGEST_RANK = 2**16
"""Largest rank or α in the metadata."""

_REFUSED = {
    "dora_scale": "DoRA's magnitudes",
    "lora_magnitude_vector": "DoRA's magnitudes",
    "hada_w": "LoHa's factors",
    "lokr_w": "LoKr's factors",
    "lora_mid": "a Tucker decomposition",
    "diff": "full differences",
    ".bias": "biases",
}
"""Maps parts of tensor names that are not pairs of factors to words of the error message."""


@dataclass(frozen=True, kw_only=True)
class LoraLayer:
    """One pair of factors, in the type of the file."""

    name: str
    """Name of the layer in the file."""
    down: Tensor
    """A, (r, in), or (r, in, h, w) for a convolution."""
    up: Tensor
    """B, (out, r), or (out, r, 1, 1) for a convolution."""
    strength: float
    """α / r, or α / √r for a rank-stabilised LoRA."""


def read_lora(file: Path) -> list[LoraLayer]:
    """Read all layers of a LoRA.

    Raises ``ModelError`` for a damaged file, for tensors other than pairs of factors, and if
    tensors and metadata give different values of α.
    """
    check_weights(file)
    try:
        with safe_open(file, framework="pt") as opened:
            names = opened.keys()
            tensors = {name: opened.get_tensor(name) for name in names}
            metadata = opened.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} is damaged ({error}); fetch it again") from error
    downs, ups, alphas = (_ending(tensors, ends) for ends in (_DOWN, _UP, _ALPHA))
    if rest := {*tensors} - {key for part in (downs, ups, alphas) for key, _ in part.values()}:
        found = {what for part, what in _REFUSED.items() if any(part in name for name in rest)}
        raise ModelError(
            f"{file}: {some(rest)}: only pairs of factors can be fused"
            f"{f', not {some(found)}' if found else ''}; merge this LoRA into the model with the "
            "tool that it was made for"
        )
    if odd := (downs.keys() ^ ups.keys()) | (alphas.keys() - downs.keys()):
        raise ModelError(f"{file}: {some(odd)}: not both factors of a pair are in the file")
    metadata_alphas = _Alphas(file, metadata)
    layers = []
    for name, (_, down) in downs.items():
        up, alpha = ups[name][1], alphas[name][1] if name in alphas else None
        _refuse_shapes(file, name, down, up, alpha)
        strength = metadata_alphas.strength(
            name, None if alpha is None else float(alpha), len(down)
        )
        layers.append(LoraLayer(name=name, down=down, up=up, strength=strength))
    if not layers:
        raise ModelError(f"{file}: has no LoRA layers")
    if not alphas:
        metadata_alphas.refuse_lost()
    return layers


def _refuse_shapes(file: Path, name: str, down: Tensor, up: Tensor, alpha: Tensor | None) -> None:
    """Raise ``ModelError`` for factors of two ranks, and for an α that is not a finite number."""
    if down.ndim < 2 or up.ndim < 2 or not len(down) or up.shape[1] != len(down):
        raise ModelError(
            f"{file}: the factors of {name} have shapes {list(down.shape)} and {list(up.shape)}, "
            "which have no common rank; fetch it again"
        )
    if alpha is not None and (alpha.numel() != 1 or not alpha.isfinite()):
        raise ModelError(f"{file}: alpha of {name} is not one finite number; fetch it again")


def _ending(tensors: Mapping[str, Tensor], ends: tuple[str, ...]) -> dict[str, tuple[str, Tensor]]:
    """Return keys and tensors by layer name, for the keys with one of the suffixes ``ends``."""
    found = {}
    for key, tensor in tensors.items():
        if end := next((end for end in ends if key.endswith(end)), None):
            name = key.removesuffix(end)
            older = next((part for part in _OLDER if name.endswith(part)), "")
            found[name.removesuffix(older)] = (key, tensor)
    return found


class _Alphas:
    """Values of α from the file's metadata: a PEFT configuration for each component."""

    def __init__(self, file: Path, metadata: Mapping[str, str]) -> None:
        self._file = file
        self._metadata = metadata
        try:
            self._settings: dict[str, Any] = dict(
                json.loads(metadata.get("lora_adapter_metadata", "{}"))
            )
        except (RecursionError, TypeError, ValueError) as error:
            raise ModelError(
                f"{file}: lora_adapter_metadata is not a JSON object: {error}"
            ) from error
        for key, value in self._settings.items():
            self._check(key, value)

    def _check(self, key: str, value: object) -> None:
        """Raise ``ModelError`` for a setting that PEFT could not use."""
        name = key.rpartition(".")[2]
        if name in ("alpha_pattern", "rank_pattern"):
            # PEFT takes them for regular expressions, of which some need years to be matched.
            is_usable = isinstance(value, dict) and all(
                _LAYERS.fullmatch(pattern) and _is_number(number)
                for pattern, number in value.items()
            )
        else:
            is_usable = name not in ("r", "lora_alpha") or _is_number(value)
        if not is_usable:
            raise ModelError(
                f"{self._file}: {key} in its metadata is {str(value)[:60]!r}; a number is "
                "expected, or numbers by names of layers"
            )

    def strength(self, name: str, alpha: float | None, rank: int) -> float:
        """Return α / r of a layer.

        ``alpha`` is the value of the layer's tensor, if it has one. Raises ``ModelError`` if the
        metadata give another value.
        """
        component, _, path = name.partition(".")
        found = self._settings.get(f"{component}.lora_alpha")
        if found is None:
            # Without any α the factors are used as they are: α = r.
            return 1.0 if alpha is None else alpha / rank
        # PEFT matches a pattern against the end of a layer's name, and takes the first match.
        for pattern, value in self._settings.get(f"{component}.alpha_pattern", {}).items():
            if re.match(rf"(.*\.)?({pattern})$", path):
                found = value
                break
        if alpha is not None and alpha != found:
            raise ModelError(
                f"{self._file}: alpha of {name} is {alpha:g}, but {found:g} in the file's metadata"
            )
        stabilised = bool(self._settings.get(f"{component}.use_rslora"))
        return float(found) / (sqrt(rank) if stabilised else rank)

    def refuse_lost(self) -> None:
        """Raise ``ModelError`` if kohya's metadata give an α but the file has no α tensors."""
        alpha, rank = (self._metadata.get(f"ss_network_{key}", "None") for key in ("alpha", "dim"))
        if "None" not in (alpha, rank) and _number(alpha) != _number(rank):
            raise ModelError(
                f"{self._file}: was trained with alpha {alpha} at rank {rank} (ss_network_alpha), "
                "but its layers have no alpha: they would be fused with the wrong strength"
            )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and 0 < value <= _LARGEST_RANK


def _number(text: str) -> float | str:
    """Return the number that a text of kohya's metadata holds, or else the text."""
    try:
        return float(text)
    except ValueError:
        return text
