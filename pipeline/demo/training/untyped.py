"""diffusers for a strict type checker: its classes are made lazily and carry no types.

Its names are used through ``diffusers`` here; the aliases say of which class a value is.
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
