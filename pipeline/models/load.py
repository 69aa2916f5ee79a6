"""Loading of the configured models into memory. It runs on the workers, never at import."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import torch

from pipeline.config.model import ModelConfig
from pipeline.config.proposers import NPNetConfig
from pipeline.config.rewards import RewardConfig
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.call_options import call_options
from pipeline.models.diffusers.pipeline_files import locate_pipeline
from pipeline.models.model_identity import refuse_other_rows
from pipeline.models.reward import Reward
from pipeline.models.rewards.custom import CustomReward
from pipeline.models.rewards.kinds import published_class
from pipeline.models.rewards.published import PARTS
from pipeline.models.source import locate
from pipeline.npnet import NPNet

if TYPE_CHECKING:
    from pipeline.models.diffusers.pipelines import Offload
    from pipeline.models.diffusers.text_encoders import TextEncoder

_DTYPES: Mapping[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def load_denoiser(
    config: ModelConfig, device: torch.device, offload: "Offload" = "none"
) -> Denoiser:
    """Load the diffusion model of a configuration. Raises ``ModelError``."""
    # Imported here because diffusers takes seconds to import, and the driver imports this module
    # without loading any model.
    from pipeline.models.diffusers.declarations import refuse_other_prediction
    from pipeline.models.diffusers.denoiser import DiffusersDenoiser
    from pipeline.models.diffusers.loras import fuse_loras
    from pipeline.models.diffusers.pipelines import (
        apply_options,
        load_pipeline,
        place,
        sequential_faults,
    )
    from pipeline.models.diffusers.schedulers import choose_scheduler

    files = locate_pipeline(config)
    pipe = load_pipeline(files, _DTYPES[config.dtype], config.variant)
    if config.scheduler is not None:
        choose_scheduler(pipe, str(config), config.scheduler.name, config.scheduler.options)
    # After the scheduler is chosen, because the check compares the checkpoint with its options.
    if files.checkpoint is not None:
        refuse_other_prediction(pipe, files.checkpoint)
    fuse_loras(pipe, config.loras)
    apply_options(pipe, config)
    place(pipe, device, offload)
    with sequential_faults(str(config), offload):
        return DiffusersDenoiser(pipe, str(config), **call_options(config))


def load_rewards(configs: tuple[RewardConfig, ...], device: torch.device) -> dict[str, Reward]:
    """Load all rewards of a configuration, by name and in its order.

    Raises ``ModelError``, and ``EntryPointError`` for a custom reward.
    """
    return {config.name: _LOADERS[config.kind](config, device) for config in configs}


def load_text_encoder(config: ModelConfig, device: torch.device) -> "TextEncoder":
    """Load the text encoders of a model, with its LoRAs. Raises ``ModelError``.

    Network and decoder are read into main memory and dropped before anything moves to ``device``.
    On the CPU, float16 models are computed in float32.
    """
    from pipeline.models.diffusers.loras import fuse_loras
    from pipeline.models.diffusers.pipelines import load_pipeline
    from pipeline.models.diffusers.text_encoders import TextEncoder

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
    """Load a noise prompt network for ``model``, which is loaded as ``denoiser``.

    Raises ``ModelError`` for a damaged network and for latents or prompt embeddings of another
    shape. That the network was trained for this model is checked when a plan is made.
    """
    network = NPNet.load(config.path, denoiser.device)
    refuse_other_rows(config.path, network.layout, model)
    with torch.inference_mode():
        noise = torch.zeros(1, *denoiser.latent_shape, device=denoiser.device)
        # One evaluation, because the network raises for shapes that it was not trained on.
        network(noise, denoiser.encode_prompts([""]).embeds)
    return network


def _scene(config: RewardConfig, device: torch.device) -> Reward:
    # By name: models do not depend on the demo.
    demo = import_module("pipeline.demo.scene_reward")
    reward: Reward = demo.SceneReward.load(locate(config), device)
    return reward


def _scene_oracle(config: RewardConfig, device: torch.device) -> Reward:
    oracle: Reward = import_module("pipeline.demo.oracle").SceneOracle()
    return oracle


def _published(config: RewardConfig, device: torch.device) -> Reward:
    return published_class(config.kind).load(locate(config), device)


_LOADERS: Mapping[str, Callable[[RewardConfig, torch.device], Reward]] = {
    **dict.fromkeys(PARTS, _published),
    "custom": CustomReward.load,
    "scene": _scene,
    "scene_oracle": _scene_oracle,
}


def default_device() -> torch.device:
    """Return the GPU that is assigned to this process, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
