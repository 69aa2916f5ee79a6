"""Files of a decoder that replaces the one of a model (``[model.vae]``)."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.config.model import VaeConfig
from pipeline.core.errors import ModelError
from pipeline.core.identity import canonical_json, sha256
from pipeline.core.untrusted_files import check_file
from pipeline.models.kept_digests import kept_sha256
from pipeline.models.source import OnThisMachine, locate

CONFIG_FILE = "config.json"
_WEIGHTS = "diffusion_pytorch_model"


@dataclass(frozen=True, kw_only=True)
class ResolvedDecoder(OnThisMachine):
    """A configured decoder and its files on this machine."""

    config: VaeConfig
    folder: Path

    @cached_property
    def files(self) -> tuple[Path, Path]:
        """Its configuration and its weights. Raises ``ModelError`` for a missing file."""
        found = tuple(self.folder / name for name in _files(self.config))
        for path in found:
            if not path.exists():
                raise ModelError(
                    f"{path}: no such file; [model.vae] needs a folder with {CONFIG_FILE} and "
                    f"{found[1].name}, as diffusers writes them"
                )
            check_file(path, ModelError, self.folder)
        return found[0], found[1]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its configuration and weights. Raises ``ModelError`` for a missing file."""
        config, weights = (kept_sha256(path) for path in self.files)
        return sha256(canonical_json({"config": config, "weights": weights}))


def resolve_decoder(config: VaeConfig, *, fetch: bool = True) -> ResolvedDecoder:
    """Locate the files of a decoder on this machine. With ``fetch``, download missing ones.

    Raises ``ModelError``.
    """
    return ResolvedDecoder(config=config, folder=locate(config, _files(config), fetch=fetch))


def _files(config: VaeConfig) -> tuple[str, str]:
    variant = "" if config.variant is None else f".{config.variant}"
    return CONFIG_FILE, f"{_WEIGHTS}{variant}.safetensors"
