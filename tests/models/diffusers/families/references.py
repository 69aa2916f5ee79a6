"""Arguments of each family's network, written by hand from its paper and model card.

They are the reference for the predictions of the traced pipeline. ``inputs`` are those of the
pipeline's call, for B rows. The result is the network's ε, v or velocity.
"""

from collections.abc import Callable
from typing import Any

import torch
from diffusers.models.embeddings import get_2d_rotary_pos_embed
from torch import Tensor

Inputs = dict[str, Tensor]
Reference = Callable[[Any, Tensor, float, Inputs], Tensor]

TOLD_GUIDANCE = 3.5
"""Guidance scale that FLUX.1-dev receives while classifier-free guidance is used."""


def stable_diffusion(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    output: Tensor = pipe.unet(x, int(t), encoder_hidden_states=inputs["prompt_embeds"]).sample
    return output


def stable_diffusion_xl(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    # Original size, crop and target size: all 16 pixels.
    size = torch.tensor([[16.0, 16.0, 0.0, 0.0, 16.0, 16.0]]).expand(len(x), 6)
    added = {"text_embeds": inputs["pooled_prompt_embeds"], "time_ids": size}
    output: Tensor = pipe.unet(
        x, int(t), encoder_hidden_states=inputs["prompt_embeds"], added_cond_kwargs=added
    ).sample
    return output


def pixart_sigma(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    both: Tensor = pipe.transformer(
        x,
        encoder_hidden_states=inputs["prompt_embeds"],
        encoder_attention_mask=inputs["prompt_attention_mask"],
        timestep=torch.full((len(x),), int(t)),
        added_cond_kwargs={"resolution": None, "aspect_ratio": None},
    ).sample
    return both[:, :4]


def hunyuan_dit(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    # 4 × 4 patches, which stand for the middle of the 32 × 32 that the network was trained with.
    rotary = get_2d_rotary_pos_embed(8, ((0, 0), (32, 32)), (4, 4), output_type="pt")
    both: Tensor = pipe.transformer(
        x,
        torch.full((len(x),), float(t)),
        encoder_hidden_states=inputs["prompt_embeds"],
        text_embedding_mask=inputs["prompt_attention_mask"],
        encoder_hidden_states_t5=inputs["prompt_embeds_2"],
        text_embedding_mask_t5=inputs["prompt_attention_mask_2"],
        image_meta_size=torch.tensor([[1024.0, 1024.0, 64.0, 64.0, 0.0, 0.0]]).repeat(len(x), 1),
        style=torch.zeros(len(x), dtype=torch.long),
        image_rotary_emb=rotary,
        return_dict=False,
    )[0]
    return both[:, :4]


def stable_diffusion_3(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    output: Tensor = pipe.transformer(
        hidden_states=x,
        timestep=torch.full((len(x),), t),
        encoder_hidden_states=inputs["prompt_embeds"],
        pooled_projections=inputs["pooled_prompt_embeds"],
    ).sample
    return output


def flux(
    pipe: Any, x: Tensor, t: float, inputs: Inputs, guidance: float | None = TOLD_GUIDANCE
) -> Tensor:
    # Patches of 4 × 4 in rows; the first of three coordinates is not used, text is at the origin.
    rows, columns = torch.meshgrid(torch.arange(4), torch.arange(4), indexing="ij")
    ids = torch.stack([torch.zeros(16), rows.flatten(), columns.flatten()], dim=1)
    embeds = inputs["prompt_embeds"]
    output: Tensor = pipe.transformer(
        hidden_states=x,
        timestep=torch.full((len(x),), t / 1000),
        guidance=None if guidance is None else torch.full((len(x),), guidance),
        pooled_projections=inputs["pooled_prompt_embeds"],
        encoder_hidden_states=embeds,
        txt_ids=torch.zeros(embeds.shape[1], 3),
        img_ids=ids,
    ).sample
    return output


def wan(pipe: Any, x: Tensor, t: float, inputs: Inputs) -> Tensor:
    output: Tensor = pipe.transformer(
        hidden_states=x,
        timestep=torch.full((len(x),), t),
        encoder_hidden_states=inputs["prompt_embeds"],
    ).sample
    return output


REFERENCES: dict[str, Reference] = {
    "stable_diffusion": stable_diffusion,
    "stable_diffusion_xl": stable_diffusion_xl,
    "pixart_sigma": pixart_sigma,
    "hunyuan_dit": hunyuan_dit,
    "stable_diffusion_3": stable_diffusion_3,
    "flux_true_cfg": flux,
    "flux_schnell": lambda pipe, x, t, inputs: flux(pipe, x, t, inputs, guidance=None),
    "wan": wan,
}
"""Maps names of pipelines to references. FLUX.1-dev with embedded guidance has none."""
