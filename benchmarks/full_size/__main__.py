"""Measure a recipe on the GPU of this machine, without downloading weights.

    python -m benchmarks.full_size sdxl [--batch-sizes 1 4 8] [--repeats 5] [--whole] [--compile]

Builds the recipe's pipeline and judges in their published sizes with random weights, which are as
fast as trained ones. Loading runs the parity check between the pipeline's call and ours, in the
recipe's precision. Then the parts are timed, and a candidate's time is computed from them.
``--whole`` also times a complete batch of candidates, from prompts to packed pairs, as in a worker.
"""

import argparse
import os

# Set before torch is imported.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

from collections.abc import Callable, Sequence
from functools import partial
from operator import attrgetter
from statistics import median
from time import perf_counter
from typing import Any

import torch
from transformers import CLIPModel

from benchmarks.full_size.pipelines import PIPELINES, random_pipeline
from benchmarks.full_size.text_encoders import clip_l
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.core.determinism import be_deterministic
from pipeline.diffusion.guidance import guided_prediction
from pipeline.diffusion.noise import source_noise
from pipeline.models.diffusers.call_options import call_options
from pipeline.models.diffusers.denoiser import DiffusersDenoiser
from pipeline.models.diffusers.parity import deviations
from pipeline.models.diffusers.pipelines import apply_options
from pipeline.models.load import default_device
from pipeline.models.resolved_models import ResolvedModels
from pipeline.models.reward import Reward
from pipeline.models.rewards.clip import Clip
from pipeline.models.rewards.hps_v2 import HpsV2, vit_h_14
from pipeline.models.rewards.image_reward import PUBLISHED, ImageReward, ImageRewardNetwork
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import produce_unit
from pipeline.workflows.plan import draft_plan, prompts_of

PROMPT = "a red fox in the snow beside a small lighthouse, oil on canvas"

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class Stopwatch:
    """Measures the seconds of calls, including work that is still queued on the GPU."""

    def __init__(self, device: torch.device, repeats: int) -> None:
        self._on_gpu = device.type == "cuda"
        self._repeats = repeats

    def once(self, call: Callable[[], Any]) -> float:
        """Return the seconds of one call."""
        begin = perf_counter()
        call()
        if self._on_gpu:
            torch.cuda.synchronize()
        return perf_counter() - begin

    def median(self, call: Callable[[], Any]) -> float:
        """Return the median seconds of several calls. The first one is not counted."""
        self.once(call)
        return median(self.once(call) for _ in range(self._repeats))


def random_judges(device: torch.device) -> dict[str, Reward]:
    """Return HPSv2.1 and ImageReward in their published sizes, in float32."""
    with torch.device(device):
        clip = CLIPModel(vit_h_14()).eval()
        network = ImageRewardNetwork(PUBLISHED).eval()
    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz"]
    words = {letter: number for number, letter in enumerate(letters)}
    return {
        "hps_v2": HpsV2(Clip(clip, clip_l()[1], device)),
        "image_reward": ImageReward(network, words, device),
    }


def denoiser_of(recipe: str, config: Config, device: torch.device) -> DiffusersDenoiser:
    """Load the recipe's model, which runs the parity check."""
    pipe = random_pipeline(recipe, device, _DTYPES[config.model.dtype])
    apply_options(pipe, config.model)
    return DiffusersDenoiser(
        pipe,
        recipe,
        **call_options(config.model),
    )


def print_parts(
    denoiser: DiffusersDenoiser,
    judges: dict[str, Reward],
    spec: BuildSpec,
    batch_sizes: Sequence[int],
    watch: Stopwatch,
) -> None:
    """Print seconds of each part and of a candidate, for each batch size."""
    encoding = watch.median(lambda: denoiser.encode_prompts([PROMPT] * 8)) / 8
    names = ["evaluation", "decoding", *judges]
    print(f"{'batch':>6} {'encoding':>10}", *(f"{n:>13}" for n in names), f"{'candidate':>11}")
    for size in batch_sizes:
        parts = seconds_of_parts(denoiser, judges, size, watch)
        each = {name: seconds / size for name, seconds in parts.items()}
        candidate = encoding + spec.evaluations() * each["evaluation"]
        candidate += 2 * sum(seconds for name, seconds in each.items() if name != "evaluation")
        columns = (f"{each[name]:13.4f}" for name in names)
        print(f"{size:6} {encoding:10.4f}", *columns, f"{candidate:11.3f}", flush=True)


def seconds_of_parts(
    denoiser: DiffusersDenoiser, judges: dict[str, Reward], size: int, watch: Stopwatch
) -> dict[str, float]:
    """Return seconds of a forward evaluation, of decoding and of scoring, for a batch size."""
    noise = torch.stack([source_noise(seed, denoiser.latent_shape) for seed in range(size)])
    latents = noise.to(denoiser.device)
    encoded = denoiser.encode_prompts([PROMPT]).take([0] * size)
    timestep = denoiser.schedule(4).timesteps[0]
    height, width = denoiser.decode(latents[:1]).shape[-2:]
    images = torch.zeros(size, height, width, 3, dtype=torch.uint8)
    seconds = {
        "evaluation": watch.median(
            lambda: guided_prediction(denoiser, latents, timestep, encoded, 1.0)
        ),
        "decoding": watch.median(lambda: denoiser.decode(latents)),
    }
    for name, judge in judges.items():
        seconds[name] = watch.median(partial(judge.score, [PROMPT] * size, images))
    return seconds


def memory(device: torch.device) -> str:
    """Return the peak of the allocated GPU memory, as text."""
    if device.type != "cuda":
        return "not counted on a CPU"
    return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f} GiB"


def parameters(denoiser: DiffusersDenoiser) -> float:
    """Return the parameters of the network, in 10⁹."""
    network: Any = denoiser._traced.network
    return sum(int(p.numel()) for p in network.parameters()) / 1e9


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", choices=PIPELINES)
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument(
        "--whole", action="store_true", help="also time one complete batch of candidates"
    )
    parser.add_argument("--compile", action="store_true", help="compile the network")
    parser.add_argument("--channels-last", action="store_true", help="another memory format")
    options = parser.parse_args()
    be_deterministic()
    config = load_config(options.recipe)
    kernels = {"compile": options.compile, "channels_last": options.channels_last}
    config = config.model_copy(update={"model": config.model.model_copy(update=kernels)})
    device = default_device()
    watch = Stopwatch(device, options.repeats)
    plan, table = draft_plan(config, prompts_of(config, ResolvedModels(config)))
    spec = BuildSpec.of(plan)
    with torch.inference_mode():
        begin = perf_counter()
        denoiser = denoiser_of(options.recipe, config, device)
        judges = random_judges(device)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        print(
            f"{options.recipe} on {name}, {config.model.dtype}, torch {torch.__version__}: "
            f"{parameters(denoiser):.3f} G parameters, made in {perf_counter() - begin:.0f} s",
            flush=True,
        )
        largest = max(
            deviations(denoiser, denoiser._traced, options.recipe), key=attrgetter("size")
        )
        print(f"parity check: our call differs from the pipeline's by {largest.size:.1e} at most")
        print(f"seconds per sample by batch size; {spec.evaluations()} evaluations per candidate")
        print_parts(denoiser, judges, spec, options.batch_sizes, watch)
        print(f"memory: {memory(device)} at most")
        if options.whole:
            candidates = list(table.candidates(plan, range(spec.batch_size)))
            seconds = watch.once(lambda: produce_unit(candidates, denoiser, judges, spec))
            print(
                f"{len(candidates)} candidates from prompt to pair: {seconds / len(candidates):.3f}"
                f" s each; memory: {memory(device)} at most"
            )


if __name__ == "__main__":
    main()
