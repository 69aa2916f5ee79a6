"""A Stable Diffusion pipeline as its authors' code would store it: one file, other names.

The names are those of CompVis' ``ldm``: numbered blocks that a U-Net goes through in order.
"""

import re
from typing import Any

from torch import Tensor

_RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
_ENDS = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
_MIDDLE = {"resnets.0": "0", "attentions.0": "1", "resnets.1": "2"}
_VAE_ATTENTION = {
    "group_norm": "norm",
    "to_q": "q",
    "to_k": "k",
    "to_v": "v",
    "to_out.0": "proj_out",
}


def original_checkpoint(pipe: Any) -> dict[str, Tensor]:
    """Return all weights of a ``StableDiffusionPipeline`` under their original names."""
    layers = pipe.unet.config.layers_per_block
    unet = {_unet(name, layers): tensor for name, tensor in pipe.unet.state_dict().items()}
    up_blocks = len(pipe.vae.config.block_out_channels)
    vae = {_vae(name, up_blocks): tensor for name, tensor in pipe.vae.state_dict().items()}
    text = {
        f"text_model.{name.removeprefix('text_model.')}": tensor
        for name, tensor in pipe.text_encoder.state_dict().items()
    }
    prefixed = {
        "model.diffusion_model": unet,
        "first_stage_model": vae,
        "cond_stage_model.transformer": text,
    }
    return {
        f"{prefix}.{name}": tensor.clone().contiguous()
        for prefix, part in prefixed.items()
        for name, tensor in part.items()
    }


def _unet(name: str, layers: int) -> str:
    for ours, theirs in _ENDS.items():
        if name.startswith(f"{ours}."):
            return name.replace(ours, theirs, 1)
    if found := re.match(r"mid_block\.(\w+\.\d)\.(.*)", name):
        return f"middle_block.{_MIDDLE[found[1]]}.{_resnet(found[2], found[1])}"
    found = re.match(r"(down|up)_blocks\.(\d)\.(\w+)\.(\d)\.(.*)", name)
    assert found is not None, name
    way, block, part, index, rest = found[1], int(found[2]), found[3], int(found[4]), found[5]
    place = block * (layers + 1) + index
    if part == "downsamplers":
        return f"input_blocks.{(block + 1) * (layers + 1)}.0.{rest.replace('conv', 'op')}"
    if part == "upsamplers":
        return f"output_blocks.{place + layers}.2.{rest}"
    blocks = f"input_blocks.{place + 1}" if way == "down" else f"output_blocks.{place}"
    return f"{blocks}.{int(part == 'attentions')}.{_resnet(rest, part)}"


def _resnet(name: str, part: str) -> str:
    if not part.startswith("resnets"):
        return name
    ours, _, kind = name.rpartition(".")
    return f"{_RESNET[ours]}.{kind}"


def _vae(name: str, up_blocks: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    if "mid_block.attentions.0." in name:
        for ours, theirs in _VAE_ATTENTION.items():
            name = name.replace(f"attentions.0.{ours}.", f"attn_1.{theirs}.")
        return name.replace("mid_block", "mid")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    return re.sub(
        r"up_blocks\.(\d)\.(resnets|upsamplers\.0)",
        lambda m: (
            f"up.{up_blocks - 1 - int(m[1])}." + ("block" if m[2] == "resnets" else "upsample")
        ),
        name,
    )
