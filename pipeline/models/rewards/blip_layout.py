"""Renaming of ImageReward's weights to the names of transformers' BLIP classes."""

from pipeline.models.rewards.weights import Tensors

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


def from_published(tensors: Tensors) -> Tensors:
    """Return the weights renamed to ``vision.``, ``text.`` and ``head.``."""
    # Unknown names are kept. They are rejected when the weights are compared with the network.
    return {
        _renamed(name): tensor
        for name, tensor in tensors.items()
        if name.removeprefix("blip.") not in _DROPPED
    }


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
