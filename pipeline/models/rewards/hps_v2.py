"""HPSv2.1, a CLIP ViT-H/14 tuned on human preferences: the cosine of prompt and image.

Wu et al., Human Preference Score v2, arXiv 2306.09341. The reference is the package ``hpsv2``.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from transformers import CLIPConfig

from pipeline.models.rewards.clip import Clip, ClipReward, clean_text
from pipeline.models.rewards.pixels import torch_pixels
from pipeline.models.rewards.weights import Tensors

_WHOLE = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
}

_TRANSPOSED = {
    "visual.proj": "visual_projection.weight",
    "text_projection": "text_projection.weight",
}

_NORMS = {
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
    "ln_final": "text_model.final_layer_norm",
}

_IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}

_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)[._](weight|bias)")


def vit_h_14() -> CLIPConfig:
    """Return the configuration of the published checkpoint, which has none."""
    shared = {"hidden_act": "gelu", "projection_dim": 1024, "num_attention_heads": 16}
    return CLIPConfig(
        projection_dim=1024,
        text_config={
            **shared,
            "hidden_size": 1024,
            "intermediate_size": 4096,
            "num_hidden_layers": 24,
        },
        vision_config={
            **shared,
            "hidden_size": 1280,
            "intermediate_size": 5120,
            "num_hidden_layers": 32,
            "patch_size": 14,
        },
    )


class HpsV2(ClipReward):
    """Scores of HPSv2.1, about 0.2 to 0.35. They are comparable between images of one prompt."""

    kind = "hps_v2"

    @classmethod
    def load(cls, folder: Path, device: torch.device) -> Self:
        """Read the published or the converted files, in float32. Raises ``ModelError``."""
        return cls(Clip.load(cls.kind, folder, device, default=vit_h_14(), rename=from_open_clip))

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Score ``images`` (uint8, (B, H, W, 3)) against ``prompts``: float32 (B,) on the CPU."""
        # The authors resize with torch, not with Pillow, so this can run on the GPU.
        pixels = torch_pixels(images.to(self._clip.device), self._clip.side)
        image_vectors = self._clip.embed_images(pixels)
        text_vectors = self._clip.embed_prompts([clean_text(prompt) for prompt in prompts])
        return (image_vectors * text_vectors).sum(-1).cpu()


def from_open_clip(tensors: Tensors) -> Tensors:
    """Return the weights under the names of transformers."""
    # Unknown names are kept. They are rejected when the weights are compared with the network.
    return dict(pair for name, tensor in tensors.items() for pair in _renamed(name, tensor))


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if block := _BLOCK.fullmatch(name):
        tower = "vision_model" if block[1] else "text_model"
        yield from _in_block(f"{tower}.encoder.layers.{block[2]}", block[3], block[4], tensor)
    elif name in _TRANSPOSED:
        yield _TRANSPOSED[name], tensor.T.contiguous()
    else:
        stem, _, parameter = name.rpartition(".")
        yield _WHOLE.get(name) or f"{_NORMS.get(stem, stem)}.{parameter}", tensor


def _in_block(
    layer: str, stem: str, parameter: str, tensor: Tensor
) -> Iterator[tuple[str, Tensor]]:
    if stem == "attn.in_proj":
        # open_clip stores query, key and value in one matrix.
        for letter, part in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{layer}.self_attn.{letter}_proj.{parameter}", part.contiguous()
    else:
        yield f"{layer}.{_IN_BLOCK.get(stem, stem)}.{parameter}", tensor
