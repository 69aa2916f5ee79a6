"""Supported families of models, by the name of their pipeline class in diffusers."""

from pipeline.models.diffusers.families.family import Family, Inputs
from pipeline.models.diffusers.families.flux import FLUX
from pipeline.models.diffusers.families.hunyuan_dit import HUNYUAN_DIT
from pipeline.models.diffusers.families.pixart_sigma import PIXART_SIGMA
from pipeline.models.diffusers.families.stable_diffusion import STABLE_DIFFUSION
from pipeline.models.diffusers.families.stable_diffusion_3 import STABLE_DIFFUSION_3
from pipeline.models.diffusers.families.stable_diffusion_xl import STABLE_DIFFUSION_XL
from pipeline.models.diffusers.families.wan import WAN

FAMILIES: dict[str, Family] = {
    family.pipeline: family
    for family in (
        STABLE_DIFFUSION,
        STABLE_DIFFUSION_XL,
        PIXART_SIGMA,
        HUNYUAN_DIT,
        STABLE_DIFFUSION_3,
        FLUX,
        WAN,
    )
}

__all__ = ["FAMILIES", "Family", "Inputs"]
