"""ImageReward 1.0: BLIP reads the prompt with attention to the image, and a head computes a score.

Xu et al., arXiv 2304.05977. The reference is the package ``image-reward``. Its checkpoint is
loaded into transformers' BLIP classes, which give the same values.
B batch, S side of the network's square in pixels.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor, nn
from transformers import (
    BertTokenizer,
    BlipTextConfig,
    BlipTextModel,
    BlipVisionConfig,
    BlipVisionModel,
)

from pipeline.core.determinism import full_precision
from pipeline.core.errors import ModelError
from pipeline.core.identity import readable_json
from pipeline.core.save_weights import save_weights
from pipeline.models.rewards.aesthetic import LinearHead
from pipeline.models.rewards.pixels import pillow_pixels
from pipeline.models.rewards.published import (
    BERT_VOCABULARY,
    CONFIG,
    REQUIRED_FILES,
    WEIGHTS,
    check_folder,
    read_sizes,
)
from pipeline.models.rewards.weights import Tensors, fill, read_tensors

KIND = "image_reward"

PUBLISHED: dict[str, dict[str, Any]] = {
    "vision": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "image_size": 224,
        "patch_size": 16,
        "hidden_act": "gelu",
        # The default of transformers, 1e-5, is not BLIP's value and changes scores by 2e-4.
        "layer_norm_eps": 1e-6,
    },
    "text": {
        "vocab_size": 30524,
        "hidden_size": 768,
        "encoder_hidden_size": 1024,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "max_position_embeddings": 512,
        "layer_norm_eps": 1e-12,
        # Creates the cross-attention layers, which attend to the image.
        "is_decoder": True,
    },
}
"""Sizes of the published checkpoint, which has no configuration."""

_MEAN, _STD = 0.16717362830052426, 1.0333394966054072
"""Mean and standard deviation of raw scores over the authors' validation set."""

_TOKENS = 35
"""Number of tokens that are read, including start and end."""

_VISION = "blip.visual_encoder."

_TEXT = "blip.text_encoder."

_HEAD = "mlp."

_DROPPED = (
    "text_encoder.embeddings.position_ids",
    "vision_proj.weight",
    "vision_proj.bias",
    "text_proj.weight",
    "text_proj.bias",
)
"""A buffer, and weights that only BLIP's pre-training needs."""

_VISION_NAMES = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj": "embeddings.patch_embedding",
    "norm": "post_layernorm",
}

_BLOCK_NAMES = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
}


class ImageRewardNetwork(nn.Module):
    """Image encoder and text encoder of BLIP, and the head, in the given sizes."""

    def __init__(self, sizes: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        self.vision = BlipVisionModel(BlipVisionConfig(**sizes["vision"]))
        self.text = BlipTextModel(BlipTextConfig(**sizes["text"]), add_pooling_layer=False)
        self.head = LinearHead(self.text.config.hidden_size)
        self.side = int(sizes["vision"]["image_size"])

    def forward(self, ids: Tensor, mask: Tensor, pixels: Tensor) -> Tensor:
        """Compute raw scores (B,) of ``pixels`` (B, 3, S, S) for ``ids`` and their mask (B, 35)."""
        patches = self.vision(pixel_values=pixels).last_hidden_state
        tokens = self.text(
            input_ids=ids,
            attention_mask=mask,
            encoder_hidden_states=patches,
            encoder_attention_mask=torch.ones(patches.shape[:2], device=patches.device),
            is_decoder=False,  # attention within the prompt is bidirectional, not causal
        ).last_hidden_state
        scores: Tensor = self.head(tokens[:, 0])
        return scores


class ImageReward:
    """Scores of ImageReward 1.0, with mean 0 and deviation 1 over its authors' images."""

    def __init__(
        self, network: ImageRewardNetwork, vocabulary: dict[str, int], device: torch.device
    ) -> None:
        self._network = network.to(device)
        self._vocabulary = vocabulary
        self._tokenizer = BertTokenizer(vocab=vocabulary)
        self._device = device

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        check_folder(KIND, folder)
        (path,) = REQUIRED_FILES[KIND][0].found_in(folder) or ()
        tensors = read_tensors(path)
        if path.name != WEIGHTS:
            tensors = from_published(tensors)
        network = fill(lambda: ImageRewardNetwork(_sizes(folder)), tensors, path)
        return cls(network, _vocabulary(folder / BERT_VOCABULARY), device)

    def save(self, folder: Path) -> None:
        """Write the files that ``load`` reads, as safetensors."""
        vision, text = self._network.vision.config, self._network.text.config
        sizes = {
            "vision": {name: getattr(vision, name) for name in PUBLISHED["vision"]},
            "text": {name: getattr(text, name) for name in PUBLISHED["text"]},
        }
        (folder / CONFIG).write_bytes(readable_json(sizes))
        (folder / BERT_VOCABULARY).write_text("".join(f"{w}\n" for w in self._vocabulary), "utf-8")
        save_weights({n: t.cpu() for n, t in self._network.state_dict().items()}, folder / WEIGHTS)

    @torch.no_grad()
    @full_precision()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        ids, mask = self.tokens(prompts)
        pixels = pillow_pixels(images, self._network.side)
        raw: Tensor = self._network(*(part.to(self._device) for part in (ids, mask, pixels)))
        return ((raw - _MEAN) / _STD).cpu()

    def tokens(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Return token ids and attention mask of prompts, both int64 (B, 35)."""
        encoded = self._tokenizer(
            list(prompts),
            padding="max_length",
            truncation=True,
            max_length=_TOKENS,
            return_tensors="pt",
        )
        return encoded["input_ids"], encoded["attention_mask"]


def _renamed(name: str) -> str:
    if name.startswith(_VISION):
        return f"vision.{_vision(name.removeprefix(_VISION))}"
    if name.startswith(_TEXT):
        return f"text.{name.removeprefix(_TEXT)}"
    return f"head.{name.removeprefix(_HEAD)}"


def _vision(name: str) -> str:
    if name in _VISION_NAMES:  # parameters of the network itself
        return _VISION_NAMES[name]
    stem, _, parameter = name.rpartition(".")
    if not stem.startswith("blocks."):
        return f"{_VISION_NAMES.get(stem, stem)}.{parameter}"
    _, number, inner = stem.split(".", 2)
    return f"encoder.layers.{number}.{_BLOCK_NAMES.get(inner, inner)}.{parameter}"


def from_published(tensors: Tensors) -> Tensors:
    """Return the weights renamed to ``vision.``, ``text.`` and ``head.``."""
    # Unknown names are kept. They are rejected when the weights are compared with the network.
    return {
        _renamed(name): tensor
        for name, tensor in tensors.items()
        if name.removeprefix("blip.") not in _DROPPED
    }


def _sizes(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the sizes from the folder's configuration, or the published ones without it."""
    path = folder / CONFIG
    if not path.is_file():
        return PUBLISHED
    found = read_sizes(folder)
    try:
        return {part: {**PUBLISHED[part], **found[part]} for part in PUBLISHED}
    except (LookupError, TypeError) as error:
        raise ModelError(f"{path} does not describe an ImageReward: {error!r}") from error


def _vocabulary(path: Path) -> dict[str, int]:
    """Read a vocabulary with one token in each line. The line number is the token's id."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} is damaged ({error}); fetch it again") from error
    words = {word: number for number, word in enumerate(lines)}
    missing = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} - set(words)
    if missing:
        raise ModelError(
            f"{path} is not the vocabulary of bert-base-uncased: it lacks {sorted(missing)}"
        )
    return words
