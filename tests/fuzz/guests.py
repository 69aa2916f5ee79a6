"""Kinds of folders that somebody else made, apart from stores: what is in one and who reads it.

Each kind has an intact folder, and commands that read a mutated copy of it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import torch

from pipeline.config.model import LoraConfig, ModelConfig
from pipeline.config.prompts import PromptsConfig, PromptSourceConfig
from pipeline.config.rewards import RewardConfig
from pipeline.models.diffusers.resolved_model import resolve_model, variants_in
from pipeline.models.load import load_denoiser, load_text_encoder
from pipeline.models.resolved_models import resolve_reward
from pipeline.models.rewards.kinds import convert, published_class
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.prompts.choosing import choose_prompts
from pipeline.prompts.sources import read_source
from pipeline.prompts.token_limit import token_limits
from pipeline.training.checkpoint import load_checkpoint
from tests.fuzz import guest_folders
from tests.fuzz.attempts import Attempt

_CPU = torch.device("cpu")

# Arrow's allocator reserves 1 GiB of addresses at its first use. Commands inherit them, and their
# limit counts what they take beyond.
_FIRST_USE = pa.allocate_buffer(1)


@dataclass(frozen=True, kw_only=True)
class Guest:
    """A kind of folder that is mutated."""

    make: Callable[[Path], None]
    """Writes the intact content into an existing folder."""
    part: str
    """Folder within it whose files are mutated."""
    attempts: Mapping[str, Attempt]


def _model(place: Path) -> ModelConfig:
    return ModelConfig(name="tiny", path=str(place / "model"), dtype="float32")


def _load_model(place: Path) -> None:
    load_denoiser(resolve_model(_model(place)), _CPU)


def _load_text(place: Path) -> None:
    load_text_encoder(resolve_model(_model(place)), _CPU)


def _digest_model(place: Path) -> None:
    variants_in(place / "model")
    model = resolve_model(_model(place))
    model.index.check()
    assert model.digest and model.text_digest


def _count_tokens(place: Path) -> None:
    model = resolve_model(_model(place))
    limits = token_limits(model.folder, model.index.family.limits(None))
    assert limits[0].counter.counts(["a red circle", "é" * 1000])


def _load_checkpoint(place: Path) -> None:
    model = ModelConfig(
        name="tiny",
        config=str(place / "model"),
        dtype="float32",
        path=str(place / "single"),
        file="tiny.safetensors",
    )
    load_denoiser(resolve_model(model), _CPU)


def _load_lora(place: Path) -> None:
    loras = (LoraConfig(path=str(place / "lora")),)
    load_denoiser(resolve_model(_model(place).model_copy(update={"loras": loras})), _CPU)


def _reward(kind: str) -> Attempt:
    def run(place: Path) -> None:
        folder = place / "reward"
        config = RewardConfig.model_validate(
            {"name": "r", "kind": kind, "path": str(folder), "margin": 0.0}
        )
        assert resolve_reward(config).digest
        published_class(kind).load(folder, _CPU)

    return run


def _convert(kind: str) -> Attempt:
    return lambda place: convert(kind, place / "reward", place.parent / "out")


def _scene(place: Path) -> None:
    from pipeline.demo.scene_reward import SceneReward

    SceneReward.load(place / "reward", _CPU)


def _load_network(place: Path) -> None:
    folder = place / "network"
    assert network_digest(folder)
    network = NPNet.load(folder)
    noise = torch.zeros(1, *guest_folders.LATENTS)
    network(noise, torch.zeros(1, guest_folders.TOKENS, guest_folders.WIDTH))


def _resume(place: Path) -> None:
    parts = guest_folders.training_parts()
    load_checkpoint(place / "run" / "checkpoint.pt", guest_folders.RUN, parts)


def _read_prompts(place: Path) -> None:
    for path in guest_folders.sources(place):
        assert read_source(PromptSourceConfig(name="s", path=str(path)))


def _choose_prompts(place: Path) -> None:
    for path in guest_folders.sources(place):
        config = PromptsConfig(path=str(path), near_duplicates=0.9, sample=4)
        assert choose_prompts(config, place, {}).prompts


GUESTS: Mapping[str, Guest] = {
    "models": Guest(
        make=guest_folders.model,
        part="model",
        attempts={
            "load": _load_model,
            "text encoder": _load_text,
            "digest": _digest_model,
            "tokens": _count_tokens,
        },
    ),
    "checkpoints": Guest(
        make=guest_folders.checkpoint, part="single", attempts={"load": _load_checkpoint}
    ),
    "loras": Guest(make=guest_folders.lora, part="lora", attempts={"load": _load_lora}),
    **{
        kind: Guest(
            make=guest_folders.reward(kind),
            part="reward",
            attempts={"load": _reward(kind), "convert": _convert(kind)},
        )
        for kind in ("image_reward", "hps_v2", "aesthetic")
    },
    "scene": Guest(make=guest_folders.scene, part="reward", attempts={"load": _scene}),
    "networks": Guest(make=guest_folders.network, part="network", attempts={"load": _load_network}),
    "runs": Guest(make=guest_folders.run, part="run", attempts={"resume": _resume}),
    "prompts": Guest(
        make=guest_folders.prompts,
        part="prompts",
        attempts={"read": _read_prompts, "choose": _choose_prompts},
    ),
}
