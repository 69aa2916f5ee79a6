"""GPU-hours of a plan by published speeds, with the arithmetic.

Bytes of a stored pair.

Which models of a configuration are not on this machine."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod

from pipeline.config.model import ModelConfig
from pipeline.config.sections import Config, OutputConfig
from pipeline.costs.published import SPEEDS, Architecture, Speed
from pipeline.errors import ModelError
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.source import locate

_SECONDS_AN_HOUR = 3600


@dataclass(frozen=True, kw_only=True)
class GpuHours:
    """What candidates take on one kind of GPU."""

    speed: Speed
    candidates: int
    evaluations: int
    """Forward evaluations a candidate."""
    images: int
    """Images that are decoded a candidate."""

    @property
    def hours(self) -> float:
        """GPU-hours of all candidates."""
        speed = self.speed
        seconds = self.evaluations * speed.evaluation_seconds + self.images * speed.decode_seconds
        return self.candidates * seconds / _SECONDS_AN_HOUR

    def arithmetic(self) -> str:
        """How the hours come about."""
        speed = self.speed
        each = f"{self.evaluations} × {speed.evaluation_seconds:.4f} s"
        if speed.decode_seconds:
            each += f" + {self.images} × {speed.decode_seconds:.3f} s decoding"
        return f"{self.candidates:,} × ({each}) = {self.hours:,.2f} GPU-hours"


def gpu_hours(
    architecture: Architecture, model: ModelConfig, candidates: int, evaluations: int, images: int
) -> list[GpuHours]:
    """One for each published speed; none for a size of images that none was published for."""
    if prod(architecture.size(model)) != architecture.pixels**2:
        return []
    return [
        GpuHours(speed=speed, candidates=candidates, evaluations=evaluations, images=images)
        for speed in SPEEDS
        if speed.architecture == architecture.name
    ]


_FLOAT16 = 2


def pair_bytes(
    output: OutputConfig, latent_values: int, image_values: int, prompts: Sequence[str]
) -> int:
    """Noises exactly, images as if they did not compress, and a prompt as long as most.

    ``latent_values`` and ``image_values`` are the numbers in one latent and in one image.
    """
    noises = 2 if output.source_noise else 1
    images = 0 if output.images == "none" else 2 * image_values
    prompt = sum(len(prompt.encode()) for prompt in prompts) // len(prompts)
    return noises * _FLOAT16 * latent_values + images + prompt


def missing_models(config: Config) -> list[ModelError]:
    """For each model that is not here, what to fetch and where to put it; nothing is fetched."""
    return list(filter(None, map(_error, _lookups(config))))


def _lookups(config: Config) -> Iterator[Callable[[], object]]:
    yield partial(resolve_model, config.model, fetch=False)
    for source in (*config.model.loras, *config.rewards):
        if source.has_place:
            yield partial(locate, source, fetch=False)


def _error(lookup: Callable[[], object]) -> ModelError | None:
    try:
        lookup()
    except ModelError as error:
        return error
    return None
