"""GPU-hours of a plan by published speeds, with the arithmetic."""

from dataclasses import dataclass
from math import prod

from pipeline.config.model import ModelConfig
from pipeline.costs.architectures import Architecture
from pipeline.costs.speeds import SPEEDS, Speed

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
