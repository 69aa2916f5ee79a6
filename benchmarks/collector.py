"""Compare a build's batches with the published collector: candidates per second, side by side.

    python -m benchmarks.collector [--network small] [--width 32] [--batch-size 32] [--turns 7]

Published: one candidate at a time (``published_loop``). Ours: ``produce_unit`` with one batch, from
prompts to packed pairs, as in a worker. Both have the same network, weights, dtype, steps, scales,
judge and source noises, and run in this process on one CPU thread or on the GPU. They take turns.
On a CPU, seconds are those of the processor, so other load on the machine counts little. The golden
noises of both are compared: they are the same method up to rounding.

Networks: ``demo`` (the demo's model), ``small`` (SDXL's architecture with ``--width`` channels and
random weights, images of 32 × 32) and ``sdxl`` (full size, random weights, for a GPU). What batches
save depends on the network: a small one spends most of its time between kernels, and a large one in
them. Goal on one CPU thread: 6 times the candidates.
"""

import argparse
import os

# Set before torch is imported.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ["OMP_NUM_THREADS"] = "1"

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from diffusers.utils import logging as diffusers_logging

from benchmarks.full_size.__main__ import random_judges
from benchmarks.full_size.pipelines import random_pipeline
from benchmarks.published_loop import Collected, PublishedLoop
from benchmarks.small_sdxl import small_sdxl
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.core.records import Candidate
from pipeline.diffusion.noise import as_model_input
from pipeline.models.diffusers.call_options import call_options
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.pipelines import load_pipeline
from pipeline.models.load import default_device, load_rewards
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.reward import Reward
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.propose import draw_source_noise
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage.formats.pairs import PairSchema
from pipeline.workflows.plan import draft_plan, prompts_of

GOAL = 6.0


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A network and a judge that both loops use, and the configuration of a build with them."""

    pipe: Any
    denoiser: DiffusersDenoiser
    judge: Reward
    config: Config

    @classmethod
    def of(cls, pipe: Any, judge: Reward, config: Config) -> "Subject":
        """Wrap a pipeline."""
        denoiser = DiffusersDenoiser(pipe, config.model.name, **call_options(config.model))
        return cls(pipe=pipe, denoiser=denoiser, judge=judge, config=config)


def demo() -> Subject:
    """Return the demo's model in the published setting."""
    config = load_config("demo_published")
    pipe = load_pipeline(ResolvedModels(config).model, torch.float32)
    return Subject.of(pipe, _scene(config), config)


def small(width: int) -> Subject:
    """Return a small network of SDXL's architecture."""
    config = load_config("demo_published")
    return Subject.of(small_sdxl(width), _scene(config), config)


def full_size() -> Subject:
    """Return SDXL in full size, in float16."""
    config, device = load_config("sdxl"), default_device()
    pipe = random_pipeline("sdxl", device, torch.float16)
    return Subject.of(pipe, random_judges(device)["hps_v2"], config)


def subject_of(network: str, width: int) -> Subject:
    """Return the network of an option."""
    match network:
        case "demo":
            return demo()
        case "sdxl":
            return full_size()
    return small(width)


def _scene(config: Config) -> Reward:
    return load_rewards(ResolvedModels(config).rewards[:1], torch.device("cpu"))["scene"]


def published_config(config: Config, batch_size: int) -> Config:
    """Return the published setting with one judge, in units of one batch, with all pairs stored."""
    assert config.redenoise is not None
    changes = {
        "sampling": {"num_inference_steps": 10, "guidance_scale": 5.5},
        "redenoise": {
            "num_inference_steps": 10,
            "num_steps": 1,
            "guidance_scale": 5.5,
            "inversion_guidance_scale": 1.0,
        },
        "gate": {"max_norm_deviation": 1e6, "max_kurtosis_deviation": 1e6},
        "units": {"size": batch_size, "batch_size": batch_size},
        "output": {"store_rejected": True, "images": "none"},
    }
    sections = {
        name: getattr(config, name).model_copy(update=values) for name, values in changes.items()
    }
    return config.model_copy(update={**sections, "rewards": config.rewards[:1]})


class OurLoop:
    """One batch of a build, from prompts to packed pairs."""

    def __init__(self, subject: Subject, spec: BuildSpec) -> None:
        self._subject, self._spec = subject, spec
        self._rewards = {subject.config.rewards[0].name: subject.judge}

    def collect(self, candidates: Sequence[Candidate]) -> ProducedUnit:
        """Compute the unit of these candidates."""
        return produce_unit(candidates, self._subject.denoiser, self._rewards, self._spec)


def largest_difference(produced: ProducedUnit, collected: dict[str, Collected]) -> float:
    """Return the largest difference of golden noises, in steps of float16, in which both are kept.

    Raise ``AssertionError`` unless every collected candidate is in ``produced``.
    """
    file = pa.ipc.open_file(pa.BufferReader(produced.data))
    schema = PairSchema.of(file.schema)
    differences = []
    for index in range(file.num_record_batches):
        for pair in schema.to_pairs(file.get_batch(index)):
            if (theirs := collected.get(pair.sample_id)) is None:
                continue
            rounded = theirs.golden_noise.half().numpy()
            # A step below the smallest normal number would count rounding of float32.
            step = np.spacing(np.maximum(np.abs(rounded), np.float16(2**-6)))
            distance = np.abs(pair.golden_noise.astype("f4") - rounded.astype("f4"))
            differences.append(float((distance / step.astype("f4")).max()))
    assert len(differences) == len(collected)
    return max(differences)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("demo", "small", "sdxl"), default="small")
    parser.add_argument("--width", type=int, default=32, help="channels of the small network")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--published", type=int, default=8, help="published candidates in a turn")
    parser.add_argument("--turns", type=int, default=7)
    options = parser.parse_args()
    be_deterministic()
    # SDXL's decoder is cast to float32 for each picture of the published loop, with a warning.
    diffusers_logging.set_verbosity_error()
    subject = subject_of(options.network, options.width)
    clock = perf_counter if subject.denoiser.device.type == "cuda" else process_time
    config = published_config(subject.config, options.batch_size)
    plan, table = draft_plan(config, prompts_of(config, ResolvedModels(config)))
    candidates = list(table.candidates(plan, plan.unit_range(0)))
    noises = as_model_input(draw_source_noise(candidates, subject.denoiser.latent_shape))
    ours = OurLoop(subject, BuildSpec.of(plan))
    theirs_ours: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory(prefix="npd-collector-") as folder:
        published = PublishedLoop(
            subject.pipe,
            subject.judge,
            Path(folder),
            num_inference_steps=10,
            guidance_scale=5.5,
            inversion_guidance_scale=1.0,
        )
        rows = range(min(options.published, len(candidates)))
        produced = ours.collect(candidates)
        collected = {
            candidates[row].sample_id: published.collect(candidates[row], noises[row])
            for row in rows
        }
        difference = largest_difference(produced, collected)
        size = sum(parameter.numel() for parameter in subject.pipe.unet.parameters())
        print(
            f"{options.network}: {size / 1e6:.2f} M parameters, {config.model.dtype}, "
            f"batches of {len(candidates)}"
        )
        print(f"golden noises of both differ by at most {difference:.1f} steps of float16")
        print(f"{'turn':>8} {'published/s':>12} {'ours/s':>8} {'ratio':>7}")
        for turn in range(options.turns):
            begin = clock()
            for row in rows:
                published.collect(candidates[row], noises[row])
            middle = clock()
            produced = ours.collect(candidates)
            end = clock()
            speeds = (len(rows) / (middle - begin), len(candidates) / (end - middle))
            theirs_ours.append(speeds)
            print(
                f"{turn:8} {speeds[0]:12.2f} {speeds[1]:8.2f} {speeds[1] / speeds[0]:7.2f}",
                flush=True,
            )
    ratios = sorted(mine / theirs for theirs, mine in theirs_ours)
    print(
        f"{'median':>8} {median(each[0] for each in theirs_ours):12.2f} "
        f"{median(each[1] for each in theirs_ours):8.2f} {median(ratios):7.2f} "
        f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
    )
    stages = sorted(produced.stage_seconds.items(), key=lambda item: -item[1])
    total = sum(produced.stage_seconds.values())
    print("our stages:", ", ".join(f"{name} {seconds / total:.0%}" for name, seconds in stages))


if __name__ == "__main__":
    main()
