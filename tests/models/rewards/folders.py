"""Folders of small reward models, in the form in which they are published."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPConfig, CLIPModel

from pipeline.models.rewards.hps_v2 import from_open_clip
from tests.models.rewards.recorded import tokens, weights
from tests.models.rewards.reference.subjects import BLIP_SIZES, CLIP_TEXT, CLIP_VISION, weight

BERT_SIZE = 30522


def image_reward(folder: Path) -> None:
    """Write the published pickle, the configuration of its size, and the vocabulary."""
    buffer = {"blip.text_encoder.embeddings.position_ids": torch.arange(512)[None]}
    torch.save(weights("image_reward") | buffer, folder / "ImageReward.pt")
    (folder / "config.json").write_text(json.dumps(BLIP_SIZES))
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in bert_words()), "utf-8")


def bert_words() -> list[str]:
    """Write BERT's vocabulary, with only the recorded words that the prompts need."""
    words = {number: word for word, number in tokens("bert")["vocabulary"].items()}
    return [words.get(number, f"[unused {number}]") for number in range(BERT_SIZE)]


def hps_v2(folder: Path) -> None:
    """Write the published pickle in half precision, as its authors compressed it."""
    torch.save({"state_dict": weights("hps_v2")}, folder / "HPS_v2.1_compressed.pt")
    _words(folder)
    _config("gelu").save_pretrained(folder)


def pick_score(folder: Path) -> None:
    """Write a folder in the format of transformers."""
    config = _config("gelu")
    with init_empty_weights():
        shapes = {
            name: tuple(value.shape) for name, value in CLIPModel(config).state_dict().items()
        }
    _clip(folder, {n: torch.from_numpy(weight(n, shape)) for n, shape in shapes.items()}, config)


def clip_score(folder: Path) -> None:
    """Write OpenAI's CLIP as transformers publishes it, with the buffers of older versions."""
    tensors = from_open_clip(weights("openai"))
    tensors["text_model.embeddings.position_ids"] = torch.arange(77)[None]
    _clip(folder, tensors, _config("quick_gelu"))


def aesthetic(folder: Path) -> None:
    """Write OpenAI's CLIP and the head."""
    clip_score(folder)
    width = CLIP_TEXT["projection_dim"]
    shapes = {0: (1024, width), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    head = {f"layers.{n}.weight": shape for n, shape in shapes.items()} | {
        f"layers.{n}.bias": shape[:1] for n, shape in shapes.items()
    }
    torch.save(
        {name: torch.from_numpy(weight(name, shape)) for name, shape in head.items()},
        folder / "sac+logos+ava1-l14-linearMSE.pth",
    )


BUILDERS: Mapping[str, Callable[[Path], None]] = {
    "image_reward": image_reward,
    "hps_v2": hps_v2,
    "pick_score": pick_score,
    "clip_score": clip_score,
    "aesthetic": aesthetic,
}


def _clip(folder: Path, tensors: dict[str, Tensor], config: CLIPConfig) -> None:
    save_file(tensors, folder / "model.safetensors")
    config.save_pretrained(folder)
    _words(folder)


def _config(activation: str) -> CLIPConfig:
    shared: dict[str, Any] = {"hidden_act": activation}
    return CLIPConfig(
        projection_dim=CLIP_TEXT["projection_dim"],
        text_config={**CLIP_TEXT, **shared},
        vision_config={**CLIP_VISION, **shared},
    )


def _words(folder: Path) -> None:
    words = tokens("clip")
    (folder / "vocab.json").write_text(json.dumps(words["vocabulary"]), "utf-8")
    merges = "\n".join(words["merges"])
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", "utf-8")
