"""The families of models that can be used, by the name of their pipeline in diffusers."""

from pipeline.models.families.family import Family, Inputs
from pipeline.models.families.stable_diffusion import STABLE_DIFFUSION
from pipeline.models.families.stable_diffusion_3 import STABLE_DIFFUSION_3
from pipeline.models.families.stable_diffusion_xl import STABLE_DIFFUSION_XL

FAMILIES: dict[str, Family] = {
    family.pipeline: family
    for family in (STABLE_DIFFUSION, STABLE_DIFFUSION_XL, STABLE_DIFFUSION_3)
}

__all__ = ["FAMILIES", "Family", "Inputs"]
