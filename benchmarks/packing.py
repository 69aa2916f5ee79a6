"""Measure what packing costs a worker that waits for its GPU: pictures are encoded meanwhile.

    python -m benchmarks.packing [--candidates 32] [--batch-size 8] [--evaluation-seconds 0.0178]

The GPU is a stand-in: a prediction sleeps for the given seconds for each row, by default SDXL's on
an H200, and pictures of 1024 × 1024 pixels are drawn once. Everything else is real. The same unit
is computed with and without stored pictures. Their difference is the part of packing that nothing
hides: at least that of the last batch.
"""

import argparse
import os

os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Sequence
from time import perf_counter, sleep

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.diffusion.denoiser import Conditioning
from pipeline.diffusion.wrapped_denoiser import WrappedDenoiser
from pipeline.models.load import load_denoiser
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.stage_clock import Stage
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.workflows.plan import draft_plan, prompts_of

SIDE = 1024


class SleepingDenoiser(WrappedDenoiser):
    """The demo's model, whose predictions take a GPU's time and whose pictures have full size."""

    seconds = 0.0
    """Seconds of a prediction for each row."""

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        """Sleep instead of computing."""
        sleep(self.seconds * len(latents))
        return torch.zeros_like(latents)

    def decode(self, latents: Tensor) -> Tensor:
        """Return smooth pictures with some noise, which compress about as photographs do."""
        generator = torch.Generator().manual_seed(0)
        coarse = torch.rand(1, 3, 32, 32, generator=generator)
        smooth = interpolate(coarse, (SIDE, SIDE), mode="bicubic")
        noisy = smooth + 0.02 * torch.randn(1, 3, SIDE, SIDE, generator=generator)
        return noisy.clamp(0, 1).expand(len(latents), -1, -1, -1)


class EveryOther:
    """A judge that keeps half of the pairs and takes no time."""

    def __init__(self) -> None:
        self._golden = False

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return the same for all source images, and a higher score for every other golden one."""
        self._golden = not self._golden
        rows = torch.arange(len(prompts), dtype=torch.float32) % 2
        return torch.full((len(prompts),), 0.5) if self._golden else rows


def unit_of(config: Config, denoiser: SleepingDenoiser) -> tuple[ProducedUnit, float]:
    """Compute the first unit of a configuration. Return it with its seconds."""
    plan, table = draft_plan(config, prompts_of(config, ResolvedModels(config)))
    candidates = list(table.candidates(plan, plan.unit_range(0)))
    begin = perf_counter()
    produced = produce_unit(candidates, denoiser, {"scene": EveryOther()}, BuildSpec.of(plan))
    return produced, perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--candidates", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--evaluation-seconds", type=float, default=0.0178)
    options = parser.parse_args()
    config = load_config("demo_published")
    units = {"size": options.candidates, "batch_size": options.batch_size}
    denoiser = SleepingDenoiser(
        load_denoiser(ResolvedModels(config).model, torch.device("cpu"), "none")
    )
    denoiser.seconds = options.evaluation_seconds
    print(f"{options.candidates} candidates in batches of {options.batch_size}; seconds")
    print(f"{'pictures':>10} {'unit':>8} {'packing':>8} {'bytes':>12}")
    seconds = {}
    for images in ("none", "png", "webp"):
        changes = {
            "sampling": config.sampling.model_copy(update={"num_inference_steps": 10}),
            "units": config.units.model_copy(update=units),
            "output": config.output.model_copy(update={"images": images}),
            "rewards": config.rewards[:1],
        }
        produced, seconds[images] = unit_of(config.model_copy(update=changes), denoiser)
        packing = produced.stage_seconds[Stage.PACK]
        print(f"{images:>10} {seconds[images]:8.1f} {packing:8.1f} {len(produced.data):12,}")
        if images != "none":
            hidden = 1 - (seconds[images] - seconds["none"]) / packing
            print(f"{'':>10} {hidden:.0%} of packing hidden")


if __name__ == "__main__":
    main()
