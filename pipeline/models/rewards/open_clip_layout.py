"""Renaming of an open_clip ViT's weights to the names of transformers' ``CLIPModel``."""

import re
from collections.abc import Iterator

from torch import Tensor

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
