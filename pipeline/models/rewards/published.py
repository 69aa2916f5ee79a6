"""Files of the published rewards and the places where they are published.

A reward's ``path`` is a folder with the published files, or with those that ``npd convert-reward``
made from them.
"""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.core.errors import ModelError
from pipeline.core.untrusted_files import (
    check_file,
    check_numbers,
    check_size,
    check_vocabulary,
    read_json,
)
from pipeline.core.weight_files import check_pickle, check_weights
from pipeline.models.named_code import refuse_code

WEIGHTS = "model.safetensors"
"""Name of the weights in a folder, unless they are still in the published pickle."""

_PICKLES = (".bin", ".pt", ".pth")

_CONFIG_BYTES = 4 * 2**20

CONFIG = "config.json"
BERT_VOCABULARY = "vocab.txt"
CLIP_TOKENIZER, CLIP_VOCABULARY, CLIP_MERGES = "tokenizer.json", "vocab.json", "merges.txt"
AESTHETIC_HEAD = "head.safetensors"


_HUB = "https://huggingface.co/"


@dataclass(frozen=True, kw_only=True)
class RequiredFiles:
    """Required content of a folder, in one of several forms."""

    forms: tuple[tuple[str, ...], ...]
    """Sets of file names. One complete set is enough, and the first complete one is read."""
    source: str
    """URL that the files can be fetched from."""

    def found_in(self, folder: Path) -> tuple[Path, ...] | None:
        """Return the files of the first complete form, or None if there is none."""
        for form in self.forms:
            if all((folder / name).is_file() for name in form):
                return tuple(folder / name for name in form)
        return None

    def __str__(self) -> str:
        return f"{' or '.join(' and '.join(form) for form in self.forms)} ({self.source})"


def _hub(repository: str) -> str:
    return f"{_HUB}{repository}"


_CLIP_L = _hub("openai/clip-vit-large-patch14")
_CLIP_WORDS = RequiredFiles(
    forms=((CLIP_TOKENIZER,), (CLIP_VOCABULARY, CLIP_MERGES)), source=_CLIP_L
)


def _clip(source: str) -> tuple[RequiredFiles, ...]:
    return (
        RequiredFiles(forms=((WEIGHTS,), ("pytorch_model.bin",)), source=source),
        RequiredFiles(forms=((CONFIG,),), source=source),
        _CLIP_WORDS,
    )


REQUIRED_FILES: Mapping[str, tuple[RequiredFiles, ...]] = {
    "image_reward": (
        RequiredFiles(forms=((WEIGHTS,), ("ImageReward.pt",)), source=_hub("THUDM/ImageReward")),
        RequiredFiles(forms=((BERT_VOCABULARY,),), source=_hub("google-bert/bert-base-uncased")),
    ),
    "hps_v2": (
        RequiredFiles(forms=((WEIGHTS,), ("HPS_v2.1_compressed.pt",)), source=_hub("xswu/HPSv2")),
        _CLIP_WORDS,
    ),
    "pick_score": _clip(_hub("yuvalkirstain/PickScore_v1")),
    "clip_score": _clip(_CLIP_L),
    "aesthetic": (
        *_clip(_CLIP_L),
        RequiredFiles(
            forms=((AESTHETIC_HEAD,), ("sac+logos+ava1-l14-linearMSE.pth",)),
            source="https://github.com/christophschuhmann/improved-aesthetic-predictor",
        ),
    ),
}
"""Maps each kind of reward to its parts. The first part is the weights."""


def check_folder(kind: str, folder: Path) -> None:
    """Raise ``ModelError`` for a folder that lacks a part, or with files that are not its own.

    The error has the commands that fetch missing parts.
    """
    missing = [part for part in REQUIRED_FILES[kind] if part.found_in(folder) is None]
    if missing:
        raise ModelError(
            f"no {kind} in {folder}, which lacks {'; '.join(map(str, missing))}; fetch what is "
            f"missing with `{' && '.join(_fetches(missing, folder))}`"
        )
    for path in sorted(folder.iterdir()):
        if path.is_file():
            check_file(path, ModelError, folder)
            if path.suffix in (".json", ".txt"):
                check_size(path, ModelError)
            if path.suffix == ".safetensors":
                check_weights(path)
            if path.suffix in _PICKLES:
                check_pickle(path)
            if path.suffix == ".json" and path.name != CONFIG:
                check_vocabulary(path, read_json(path, ModelError), ModelError)


def read_sizes(folder: Path) -> dict[str, Any]:
    """Read the configuration of a reward's network.

    Raises ``ModelError`` for JSON that is damaged or too large, that names code, or that declares
    sizes that no network has.
    """
    path = folder / CONFIG
    content = read_json(path, ModelError, _CONFIG_BYTES)
    refuse_code(path, content)
    check_numbers(path, content, ModelError)
    return content


def _fetches(missing: Iterable[RequiredFiles], folder: Path) -> Iterator[str]:
    """Yield the commands that fetch some parts of a reward into a folder, one per source."""
    files: dict[str, list[str]] = {}
    for part in missing:
        # The last form is the one that is published; others are made by `npd convert-reward`.
        files.setdefault(part.source, []).extend(part.forms[-1])
    for source, names in files.items():
        if source.startswith(_HUB):
            repository = source.removeprefix(_HUB)
            words = ["hf", "download", repository, *names, "--local-dir", str(folder)]
            yield shlex.join(words)
        else:
            for name in names:
                words = ["curl", "--create-dirs", "-Lo", str(folder / name)]
                yield shlex.join([*words, f"{source}/raw/main/{quote(name)}"])
