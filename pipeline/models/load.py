"""From a configuration's names to models in memory; happens on the worker, never at import."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import torch

from pipeline.config.model import ModelConfig
from pipeline.config.proposers import NPNetConfig
from pipeline.config.rewards import RewardConfig
from pipeline.demo.oracle import SceneOracle
from pipeline.demo.scene_reward import SceneReward
from pipeline.models.call_options import call_options
from pipeline.models.denoiser import Denoiser
from pipeline.models.model_identity import refuse_other_rows
from pipeline.models.pipeline_files import locate_pipeline
from pipeline.models.pipeline_options import Offload, apply_options, place, sequential_faults
from pipeline.models.reward import Reward
from pipeline.models.rewards.custom import CustomReward
from pipeline.models.rewards.kinds import published_class
from pipeline.models.rewards.published import PARTS
from pipeline.models.source import locate
from pipeline.npnet import NPNet

if TYPE_CHECKING:
    from pipeline.models.text_encoder import TextEncoder

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_denoiser(config: ModelConfig, device: torch.device, offload: Offload = "none") -> Denoiser:
    """The diffusion model of a configuration. Raises ``ModelError``."""
    # Here and not above: diffusers takes seconds, and the driver, which loads nothing, has this
    # module too.
    from pipeline.models.declarations import refuse_other_prediction
    from pipeline.models.diffusers_denoiser import DiffusersDenoiser
    from pipeline.models.loras import fuse_loras
    from pipeline.models.pipeline_folder import load_pipeline
    from pipeline.models.scheduler_choice import choose_scheduler

    files = locate_pipeline(config)
    pipe = load_pipeline(files, _DTYPES[config.dtype], config.variant)
    if config.scheduler is not None:
        choose_scheduler(pipe, str(config), config.scheduler.name, config.scheduler.options)
    if files.checkpoint is not None:
        refuse_other_prediction(pipe, files.checkpoint)
    fuse_loras(pipe, config.loras)
    apply_options(pipe, config)
    place(pipe, device, offload)
    with sequential_faults(str(config), offload):
        return DiffusersDenoiser(pipe, str(config), **call_options(config))


def load_rewards(configs: tuple[RewardConfig, ...], device: torch.device) -> dict[str, Reward]:
    """All rewards of a configuration by name, in its order.

    Raises ``ModelError``, and ``EntryPointError`` for a class of the user's own.
    """
    return {config.name: _LOADERS[config.kind](config, device) for config in configs}


def load_text_encoder(config: ModelConfig, device: torch.device) -> "TextEncoder":
    """The text encoders of a configuration's model, with its LoRAs. Raises ``ModelError``.

    Network and decoder are read into the machine's memory and dropped before anything is placed.
    On the CPU half precision is computed in float32.
    """
    from pipeline.models.loras import fuse_loras
    from pipeline.models.pipeline_folder import load_pipeline
    from pipeline.models.text_encoder import TextEncoder

    on_cpu = device.type == "cpu" and config.dtype == "float16"
    dtype = torch.float32 if on_cpu else _DTYPES[config.dtype]
    pipe = load_pipeline(locate_pipeline(config), dtype, config.variant)
    fuse_loras(pipe, config.loras)
    return TextEncoder(
        pipe,
        str(config),
        device,
        max_sequence_length=config.max_sequence_length,
        clip_skip=config.clip_skip,
    )


def load_network(config: NPNetConfig, denoiser: Denoiser, model: ModelConfig) -> NPNet:
    """The noise prompt network of a configuration with its ``model``, loaded as ``denoiser``.

    Whether it was trained for this model is checked when a plan is made. Raises ``ModelError``,
    also for a network of other latents or of a text encoder with other embeddings.
    """
    network = NPNet.load(config.path, denoiser.device)
    refuse_other_rows(config.path, network.layout, model)
    with torch.inference_mode():
        noise = torch.zeros(1, *denoiser.latent_shape, device=denoiser.device)
        network(noise, denoiser.encode_prompts([""]).embeds)  # refuses shapes that are not its own
    return network


def _scene(config: RewardConfig, device: torch.device) -> Reward:
    return SceneReward.load(locate(config), device)


def _scene_oracle(config: RewardConfig, device: torch.device) -> Reward:
    return SceneOracle()


def _published(config: RewardConfig, device: torch.device) -> Reward:
    return published_class(config.kind).load(locate(config), device)


_LOADERS: Mapping[str, Callable[[RewardConfig, torch.device], Reward]] = {
    **dict.fromkeys(PARTS, _published),
    "custom": CustomReward.load,
    "scene": _scene,
    "scene_oracle": _scene_oracle,
}


def default_device() -> torch.device:
    """The GPU that this process was given, or the CPU when there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
