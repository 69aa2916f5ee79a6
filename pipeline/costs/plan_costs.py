"""Costs of a plan before it is built: models to download, bytes per pair and GPU-hours."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path

from pipeline.config.model import ModelConfig
from pipeline.config.sections import Config, OutputConfig
from pipeline.core.errors import ModelError
from pipeline.costs.published import COMPILED, SPEEDS, Architecture, Speed
from pipeline.models.diffusers.decoder import resolve_decoder
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.rewards.published import REQUIRED_FILES, check_folder
from pipeline.models.source import locate

_SECONDS_PER_HOUR = 3600

_FLOAT16 = 2
"""Bytes of a float16 number."""


def missing_models(config: Config) -> list[ModelError]:
    """Return an error for each model that is not on this machine, and download nothing.

    The errors have the commands that download it to its place.
    """
    return list(filter(None, map(_error, _lookups(config))))


def _lookups(config: Config) -> Iterator[Callable[[], object]]:
    yield partial(resolve_model, config.model, fetch=False)
    for lora in config.model.loras:
        yield partial(locate, lora, fetch=False)
    if config.model.vae is not None:
        yield partial(resolve_decoder, config.model.vae, fetch=False)
    for reward in config.rewards:
        # A folder of published files may lack some of them.
        if reward.path is not None and reward.kind in REQUIRED_FILES:
            yield partial(check_folder, reward.kind, Path(reward.path))
        elif reward.has_place:
            yield partial(locate, reward, fetch=False)


def _error(lookup: Callable[[], object]) -> ModelError | None:
    try:
        lookup()
    except ModelError as error:
        return error
    return None


def pair_bytes(
    output: OutputConfig, latent_values: int, image_values: int, prompts: Sequence[str]
) -> int:
    """Estimate the bytes of a stored pair.

    The noises are exact, images count uncompressed, and the prompt has the mean length.
    ``latent_values`` and ``image_values`` are the numbers of values in a latent and in an image.
    """
    noises = 2 if output.source_noise else 1
    images = 0 if output.images == "none" else 2 * image_values
    prompt = sum(len(prompt.encode()) for prompt in prompts) // len(prompts)
    return noises * _FLOAT16 * latent_values + images + prompt


@dataclass(frozen=True, kw_only=True)
class GpuHours:
    """GPU-hours of a plan on one kind of GPU."""

    speed: Speed
    candidates: int
    evaluations: float
    """Mean forward evaluations per candidate."""
    images: float
    """Mean decoded images per candidate."""

    @property
    def seconds_per_candidate(self) -> float:
        """GPU-seconds of one candidate."""
        speed = self.speed
        return self.evaluations * speed.evaluation_seconds + self.images * speed.decode_seconds

    @property
    def hours(self) -> float:
        """GPU-hours of all candidates."""
        return self.candidates * self.seconds_per_candidate / _SECONDS_PER_HOUR

    def arithmetic(self) -> str:
        """Return the calculation of the hours as text, with every factor."""
        speed = self.speed
        each = f"{self.evaluations:g} × {speed.evaluation_seconds:.4f} s"
        if speed.decode_seconds:
            each += f" + {self.images:g} × {speed.decode_seconds:.3f} s decoding"
        return f"{self.candidates:,} × ({each}) = {self.hours:,.2f} GPU-hours"


def gpu_hours(
    architecture: Architecture,
    model: ModelConfig,
    candidates: int,
    evaluations: float,
    images: float,
) -> list[GpuHours]:
    """Return the GPU-hours for each published speed of an architecture.

    Speeds with ``torch.compile`` are for models that are configured with it. The list is empty if
    the model makes images of another size than the published ones.
    """
    return [
        GpuHours(speed=speed, candidates=candidates, evaluations=evaluations, images=images)
        for speed in published_speeds(architecture, model)
    ]


def published_speeds(architecture: Architecture, model: ModelConfig) -> list[Speed]:
    """Return the published speeds of an architecture, as ``gpu_hours`` uses them."""
    if prod(architecture.size(model)) != architecture.pixels**2:
        return []
    return [
        speed
        for speed in SPEEDS
        if speed.architecture == architecture.name and (model.compile or speed.software != COMPILED)
    ]
