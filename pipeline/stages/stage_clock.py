"""Clock that measures the seconds a unit spends in each stage."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from time import perf_counter
from typing import TypeVar

import torch

Item = TypeVar("Item")


class Stage(StrEnum):
    """Part of the work on a unit, in the order of the flow."""

    ENCODE = "encode"
    """Text encoders."""
    PROPOSE = "propose"
    """Proposers, which make golden noise."""
    SAMPLE = "sample"
    """Denoising from noise to clean latents, of source and golden images."""
    DECODE = "decode"
    """Latents to images."""
    JUDGE = "judge"
    """Scores of all rewards."""
    PACK = "pack"
    """Encoding of images and the Arrow file of the unit."""
    UPLOAD = "upload"
    """Commit to the store, while the next unit computes."""


class StageClock:
    """Adds up the seconds of each stage. One thread measures.

    ``device`` is the device that computes. A GPU works in the background, so the clock waits for it
    at the end of each stage. Otherwise the time of one stage would be counted in the next one.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.seconds: dict[Stage, float] = {}
        """Maps each stage that was measured to its seconds."""

    @contextmanager
    def measure(self, stage: Stage) -> Iterator[None]:
        """Add the seconds of a block to ``stage``. A block that raises is not counted."""
        begin = perf_counter()
        yield
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        self.add(stage, perf_counter() - begin)

    def add(self, stage: Stage, seconds: float) -> None:
        """Add seconds that were measured elsewhere, without waiting for the device."""
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds

    def each(self, stage: Stage, items: Iterable[Item]) -> Iterator[Item]:
        """Yield ``items``. The seconds that make each item count for ``stage``."""
        iterator = iter(items)
        end = object()
        while True:
            with self.measure(stage):
                item = next(iterator, end)
            if item is end:
                return
            yield item  # type: ignore[misc]  # not `end`, which mypy cannot narrow
