"""Selection of a diffusers pipeline's files, for fetching, loading and digests.

A repository often has a model in several formats (float32, float16, pickles, ONNX, single files).
Only one of them is read. Safety checkers and image encoders are never read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.model import ModelConfig
from pipeline.config.section import SourceConfig
from pipeline.errors import ModelError
from pipeline.identity import canonical_json, file_sha256, files_digest, sha256
from pipeline.models.diffusers.model_index import components
from pipeline.models.source import locate, matching

_INDEX = "model_index.json"

_TEXT = ("text_encoder", "tokenizer")
"""Prefixes of the names of components that read a prompt."""

_METADATA = ("*.json", "*.txt", "*.model")
"""Patterns of configurations, tokenizers and lists of shards."""


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """A pipeline on this machine."""

    folder: Path
    """Folder with ``model_index.json``. It has all components, or only the configuration if there
    is a checkpoint."""
    checkpoint: Path | None = None
    """Single file with the weights, in the layout of the model's authors."""

    def __str__(self) -> str:
        return str(self.folder if self.checkpoint is None else self.checkpoint)


def locate_pipeline(model: ModelConfig, *, fetch: bool = True) -> PipelineFiles:
    """Return the files of a pipeline on this machine. With ``fetch``, download missing ones.

    Raises ``ModelError``.
    """
    if model.config is not None:
        return PipelineFiles(folder=_config_folder(model), checkpoint=_checkpoint(model, fetch))
    if model.hub is None or model.file is not None:
        place = locate(model, fetch=fetch)
        if place.is_file():
            raise ModelError(
                f"{model}: a single file has only weights; set config in [model] to a folder in "
                "diffusers' format of the same family (its json, txt and model files are enough)"
            )
        return PipelineFiles(folder=place)
    weights = f"*/*.{model.variant}*.safetensors" if model.variant else "*/*.safetensors"
    # In two steps: the index names the components, and only their files are downloaded.
    rest = (*(f"*/{files}" for files in _METADATA), weights)
    names = components(locate(model, [_INDEX], fetch=fetch, next_files=rest))
    folder = locate(model, _patterns(dict.fromkeys(names, model.variant)), fetch=fetch)
    # Components without the requested variant are read from their plain weights.
    variants = weight_variants(folder, names, model.variant)
    return PipelineFiles(folder=locate(model, _patterns(variants), fetch=fetch))


def pipeline_digest(files: PipelineFiles, variant: str | None) -> str:
    """Return the SHA-256 over names and contents of the used files. Raises ``ModelError``."""
    folder = files_digest(files.folder, _used(files.folder, variant))
    if files.checkpoint is None:
        return folder
    return sha256(canonical_json({"config": folder, "checkpoint": file_sha256(files.checkpoint)}))


def text_digest(files: PipelineFiles, variant: str | None) -> str:
    """Return the SHA-256 of the files of text encoders and tokenizers. Raises ``ModelError``.

    If the weights are a single file, it is the digest of all files.
    """
    if files.checkpoint is not None:
        return pipeline_digest(files, variant)
    names = [name for name in components(files.folder) if name.startswith(_TEXT)]
    # Without model_index.json ([0]), because it also describes the other components.
    patterns = _patterns(weight_variants(files.folder, names, variant))[1:]
    return files_digest(files.folder, matching(files.folder, patterns))


def variants_in(folder: Path) -> tuple[str | None, ...]:
    """Return the weight variants of a folder. None stands for plain weights and comes first.

    Plain weights count as present if every component with variants also has plain weights.
    Raises ``ModelError``.
    """
    names = components(folder)
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


def _used(folder: Path, variant: str | None) -> list[Path]:
    return matching(folder, _patterns(weight_variants(folder, components(folder), variant)))


def weight_variants(
    folder: Path, names: Sequence[str], variant: str | None
) -> dict[str, str | None]:
    """Return for each component the variant that is read. None stands for plain weights."""
    return {
        name: variant if variant and matching(folder, _weights(name, variant)) else None
        for name in names
    }


def _patterns(variants: Mapping[str, str | None]) -> list[str]:
    patterns = [_INDEX]
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


def _config_folder(model: ModelConfig) -> Path:
    assert model.config is not None
    return locate(SourceConfig(path=model.config))


def _checkpoint(model: ModelConfig, fetch: bool) -> Path:
    place = locate(model, fetch=fetch)
    if not place.is_file() or place.suffix != ".safetensors":
        raise ModelError(
            f"{model}: config in [model] is for weights in a single .safetensors file, which this "
            "is not; remove config for a folder, and convert a .ckpt, which is a pickle"
        )
    return place
