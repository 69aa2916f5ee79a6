"""Files of a diffusers model on this machine, located once in a command and then passed on.

A repository often has a model in several formats (float32, float16, pickles, ONNX, single files).
Only one of them is fetched, loaded and part of the digest. Safety checkers and image encoders are
never read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.config.model import ModelConfig
from pipeline.config.section import SourceConfig
from pipeline.core.errors import ModelError
from pipeline.core.identity import canonical_json, files_digest, sha256
from pipeline.core.untrusted_files import check_file, check_size
from pipeline.core.weight_files import check_weights
from pipeline.models.diffusers.decoder import ResolvedDecoder, resolve_decoder
from pipeline.models.diffusers.model_index import INDEX, ModelIndex, read_index
from pipeline.models.kept_digests import kept_sha256
from pipeline.models.source import OnThisMachine, ResolvedSource, locate, matching, resolve_source

_TEXT = ("text_encoder", "tokenizer")
"""Prefixes of the names of components that read a prompt."""

_METADATA = ("*.json", "*.txt", "*.model")
"""Patterns of configurations, tokenizers and lists of shards."""


@dataclass(frozen=True, kw_only=True)
class ResolvedModel(OnThisMachine):
    """A configured model and its files on this machine.

    Everything that is read from the files is read on first use and then kept, so each file is
    hashed once. Properties raise ``ModelError`` for files that are missing or damaged.
    """

    config: ModelConfig
    folder: Path
    """Folder with ``model_index.json``. It has all components, or only the configuration if there
    is a checkpoint."""
    checkpoint: Path | None = None
    """Single file with the weights, in the layout of the model's authors."""

    def __str__(self) -> str:
        return str(self.folder if self.checkpoint is None else self.checkpoint)

    @cached_property
    def index(self) -> ModelIndex:
        """Contents of ``model_index.json``."""
        return read_index(self.folder)

    @cached_property
    def variants(self) -> dict[str, str | None]:
        """Variant of the weights of each component. None stands for plain weights."""
        return _variants(self.folder, self.index, self.config.variant)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """Files of the folder that are used, sorted."""
        found = tuple(matching(self.folder, _patterns(self.variants)))
        for path in found:
            check_file(path, ModelError, self.folder)
            # Before it is hashed: a file may be much larger than its tensors.
            if path.suffix == ".safetensors":
                check_weights(path)
            else:
                check_size(path, ModelError)
        return found

    @cached_property
    def digest(self) -> str:
        """SHA-256 over names and contents of the used files of the folder and of the checkpoint."""
        folder = files_digest(self.folder, self.files, kept_sha256)
        if self.checkpoint is None:
            return folder
        parts = {"config": folder, "checkpoint": kept_sha256(self.checkpoint)}
        return sha256(canonical_json(parts))

    @cached_property
    def text_digest(self) -> str:
        """SHA-256 of the files of text encoders and tokenizers.

        If the weights are a single file, it is the digest of all files.
        """
        if self.checkpoint is not None:
            return self.digest
        variants = {k: variant for k, variant in self.variants.items() if k.startswith(_TEXT)}
        # Without model_index.json ([0]), because it also describes the other components.
        files = matching(self.folder, _patterns(variants)[1:])
        return files_digest(self.folder, files, kept_sha256)

    @cached_property
    def loras(self) -> tuple[ResolvedSource, ...]:
        """Files of the LoRAs, in the order of the configuration."""
        return tuple(map(resolve_source, self.config.loras))

    @cached_property
    def decoder(self) -> ResolvedDecoder | None:
        """Files of the decoder that replaces the model's, or None."""
        return None if self.config.vae is None else resolve_decoder(self.config.vae)


def resolve_model(config: ModelConfig, *, fetch: bool = True) -> ResolvedModel:
    """Locate the files of a model on this machine. With ``fetch``, download missing ones.

    LoRAs and a replaced decoder are located on first use. Raises ``ModelError``.
    """
    if config.config is not None:
        folder = locate(SourceConfig(path=config.config))
        return ResolvedModel(config=config, folder=folder, checkpoint=_checkpoint(config, fetch))
    if config.hub is None or config.file is not None:
        place = locate(config, fetch=fetch)
        if place.is_file():
            raise ModelError(
                f"{config}: a single file has only weights; set config in [model] to a folder in "
                "diffusers' format of the same family (its json, txt and model files are enough)"
            )
        return ResolvedModel(config=config, folder=place)
    weights = f"*/*.{config.variant}*.safetensors" if config.variant else "*/*.safetensors"
    # In two steps: the index names the components, and only their files are downloaded.
    rest = (*(f"*/{files}" for files in _METADATA), weights)
    index = read_index(locate(config, [INDEX], fetch=fetch, next_files=rest))
    wanted = dict.fromkeys(index.components, config.variant)
    folder = locate(config, _patterns(wanted), fetch=fetch)
    # Components without the requested variant are read from their plain weights.
    variants = _variants(folder, index, config.variant)
    return ResolvedModel(config=config, folder=locate(config, _patterns(variants), fetch=fetch))


def variants_in(folder: Path) -> tuple[str | None, ...]:
    """Return the weight variants of a folder. None stands for plain weights and comes first.

    Plain weights count as present if every component with variants also has plain weights.
    Raises ``ModelError``.
    """
    names = read_index(folder).components
    found = {
        name: [file.name for file in matching(folder, [f"{name}/*.*.safetensors"])]
        for name in names
    }
    plain = all(matching(folder, _weights(name, None)) for name in names if found[name])
    variants = {
        # model.fp16.safetensors and model.fp16-00001-of-00002.safetensors
        file.split(".")[-2].partition("-")[0]
        for files in found.values()
        for file in files
    }
    return (*([None] if plain else []), *sorted(variants))


def _variants(folder: Path, index: ModelIndex, variant: str | None) -> dict[str, str | None]:
    return {
        name: variant if variant and matching(folder, _weights(name, variant)) else None
        for name in index.components
    }


def _patterns(variants: Mapping[str, str | None]) -> list[str]:
    patterns = [INDEX]
    for name, variant in variants.items():
        patterns += [f"{name}/{files}" for files in _METADATA]
        # The list of shards of a pickle describes files that are never read.
        patterns += [f"!{name}/*.bin.index*.json", *_weights(name, variant)]
    return patterns


def _weights(name: str, variant: str | None) -> list[str]:
    """Return the patterns of weight files such as ``model.safetensors``, for one variant."""
    if variant is None:
        return [f"{name}/*.safetensors", f"!{name}/*.*.safetensors"]
    return [f"{name}/*.{variant}.safetensors", f"{name}/*.{variant}-*.safetensors"]


def _checkpoint(config: ModelConfig, fetch: bool) -> Path:
    place = locate(config, fetch=fetch)
    if not place.is_file() or place.suffix != ".safetensors":
        raise ModelError(
            f"{config}: config in [model] is for weights in a single .safetensors file, which this "
            "is not; remove config for a folder, and convert a .ckpt, which is a pickle"
        )
    return place
