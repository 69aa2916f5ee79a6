"""Aliases of diffusers classes for a strict type checker.

The classes of diffusers are created lazily and have no types. Code uses them through ``diffusers``
of this module. The aliases document the class of a value.
"""

from typing import Any, TypeAlias

import diffusers as _diffusers

diffusers: Any = _diffusers

Autoencoder: TypeAlias = Any
"""An ``AutoencoderKL``."""

UNet: TypeAlias = Any
"""A ``UNet2DConditionModel``."""

Scheduler: TypeAlias = Any
"""A ``DDIMScheduler``."""

Pipeline: TypeAlias = Any
"""A ``StableDiffusionPipeline``."""
