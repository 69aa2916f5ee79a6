"""Which files of a diffusers pipeline are used: what is fetched, loaded and counted in a digest.

A repository often holds a model several times (float32, float16, pickles, ONNX, single files): of
all these one is read. Components that only judge or watch images are never read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.model import ModelConfig
from pipeline.config.source import SourceConfig
from pipeline.errors import ModelError
from pipeline.identity import canonical_json, file_sha256, files_digest, sha256
from pipeline.models.model_index import components
from pipeline.models.source import locate, matching

_INDEX = "model_index.json"

_TEXT = ("text_encoder", "tokenizer")
"""How the names of parts begin that read a prompt."""

_TOLD = ("*.json", "*.txt", "*.model")
"""Configurations, tokenizers and lists of shards."""


@dataclass(frozen=True, kw_only=True)
class PipelineFiles:
    """A pipeline on this machine."""

    folder: Path
    """With ``model_index.json``: the whole pipeline, or what a checkpoint does not say of it."""
    checkpoint: Path | None = None
    """Weights in one file, in the layout of the model's authors."""

    def __str__(self) -> str:
        return str(self.folder if self.checkpoint is None else self.checkpoint)


def locate_pipeline(model: ModelConfig, *, fetch: bool = True) -> PipelineFiles:
    """The files of a pipeline on this machine, fetched from the hub if need be and ``fetch``.

    Raises ``ModelError``.
    """
    if model.config is not None:
        return PipelineFiles(folder=_config_folder(model), checkpoint=_checkpoint(model, fetch))
    if model.hub is None or model.file is not None:
        place = locate(model, fetch=fetch)
        if place.is_file():
            raise ModelError(
                f"{model}: a single file holds weights alone; set config in [model] to a folder in "
                "diffusers' format of the same family (its json, txt and model files are enough)"
            )
        return PipelineFiles(folder=place)
    weights = f"*/*.{model.variant}*.safetensors" if model.variant else "*/*.safetensors"
    rest = (*(f"*/{files}" for files in _TOLD), weights)
    names = components(locate(model, [_INDEX], fetch=fetch, next_files=rest))
    folder = locate(model, _patterns(dict.fromkeys(names, model.variant)), fetch=fetch)
    # What does not come in the variant is read as it is.
    variants = weight_variants(folder, names, model.variant)
    return PipelineFiles(folder=locate(model, _patterns(variants), fetch=fetch))


def pipeline_digest(files: PipelineFiles, variant: str | None) -> str:
    """SHA-256 over names and contents of the files that are used. Raises ``ModelError``."""
    folder = files_digest(files.folder, _used(files.folder, variant))
    if files.checkpoint is None:
        return folder
    return sha256(canonical_json({"config": folder, "checkpoint": file_sha256(files.checkpoint)}))


def text_digest(files: PipelineFiles, variant: str | None) -> str:
    """SHA-256 of the files of the text encoders and tokenizers alone, and of all files where the
    weights are one file. Raises ``ModelError``.
    """
    if files.checkpoint is not None:
        return pipeline_digest(files, variant)
    names = [name for name in components(files.folder) if name.startswith(_TEXT)]
    # Without the index, which describes the other components too.
    patterns = _patterns(weight_variants(files.folder, names, variant))[1:]
    return files_digest(files.folder, matching(files.folder, patterns))


def variants_in(folder: Path) -> tuple[str | None, ...]:
    """The variants in which a folder holds weights; None, the plain one, first if it is there.

    The plain one is there if every part that comes in variants also comes without. Raises
    ``ModelError``.
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
    """Return by component the variant in which its weights are read; None is the plain one."""
    return {
        name: variant if variant and matching(folder, _weights(name, variant)) else None
        for name in names
    }


def _patterns(variants: Mapping[str, str | None]) -> list[str]:
    patterns = [_INDEX]
    for name, variant in variants.items():
        patterns += [f"{name}/{files}" for files in _TOLD]
        patterns += [f"!{name}/*.bin.index*.json", *_weights(name, variant)]
    return patterns


def _weights(name: str, variant: str | None) -> list[str]:
    """Of ``model.safetensors``, ``model.fp16.safetensors`` and their shards, those that count."""
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
            "is not; leave config out for a folder, and convert a .ckpt, which is a pickle"
        )
    return place
