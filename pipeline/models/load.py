"""Loading of the configured models into memory. It runs on the workers, never at import."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING

import torch

from pipeline.config.model import ModelConfig
from pipeline.config.proposers import NPNetConfig
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.call_options import call_options
from pipeline.models.diffusers.resolved_model import ResolvedModel
from pipeline.models.model_identity import refuse_other_rows
from pipeline.models.resolved_models import ResolvedReward
from pipeline.models.reward import Reward
from pipeline.models.rewards.custom import CustomReward
from pipeline.models.rewards.kinds import published_class
from pipeline.models.rewards.published import REQUIRED_FILES
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
    model: ResolvedModel, device: torch.device, offload: "Offload" = "none"
) -> Denoiser:
    """Load a diffusion model with its decoder, LoRAs and options. Raises ``ModelError``."""
    # Imported here because diffusers takes seconds to import, and the driver imports this module
    # without loading any model.
    from pipeline.models.diffusers.declarations import refuse_other_prediction
    from pipeline.models.diffusers.denoiser import DiffusersDenoiser
    from pipeline.models.diffusers.loras import fuse_loras
    from pipeline.models.diffusers.pipelines import (
        apply_options,
        load_pipeline,
        model_faults,
        place,
        sequential_faults,
    )
    from pipeline.models.diffusers.replaced_decoder import replace_decoder
    from pipeline.models.diffusers.schedulers import choose_scheduler

    config = model.config
    pipe = load_pipeline(model, _DTYPES[config.dtype])
    with model_faults(str(config)):
        replace_decoder(pipe, model)
        if config.scheduler is not None:
            choose_scheduler(pipe, str(config), config.scheduler.name, config.scheduler.options)
        # After the scheduler is chosen, because the check compares the checkpoint with its options.
        if model.checkpoint is not None:
            refuse_other_prediction(pipe, model.checkpoint)
        fuse_loras(pipe, model)
        apply_options(pipe, config)
        place(pipe, device, offload)
        with sequential_faults(str(config), offload):
            return DiffusersDenoiser(pipe, str(config), **call_options(config))


def load_rewards(rewards: Iterable[ResolvedReward], device: torch.device) -> dict[str, Reward]:
    """Load rewards. Return them by name, in the given order.

    Raises ``ModelError``, and ``EntryPointError`` for a custom reward.
    """
    return {each.config.name: _LOADERS[each.config.kind](each, device) for each in rewards}


def load_text_encoder(model: ResolvedModel, device: torch.device) -> "TextEncoder":
    """Load the text encoders of a model, with its LoRAs. Raises ``ModelError``.

    Network and decoder are read into main memory and dropped before anything moves to ``device``.
    On the CPU, float16 models are computed in float32.
    """
    from pipeline.models.diffusers.loras import fuse_loras
    from pipeline.models.diffusers.pipelines import load_pipeline, model_faults
    from pipeline.models.diffusers.text_encoders import TextEncoder

    config = model.config
    on_cpu = device.type == "cpu" and config.dtype == "float16"
    dtype = torch.float32 if on_cpu else _DTYPES[config.dtype]
    pipe = load_pipeline(model, dtype)
    with model_faults(str(config)):
        fuse_loras(pipe, model)
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


def _scene(reward: ResolvedReward, device: torch.device) -> Reward:
    # By name: models do not depend on the demo.
    demo = import_module("pipeline.demo.scene_reward")
    loaded: Reward = demo.SceneReward.load(reward.place, device)
    return loaded


def _scene_oracle(reward: ResolvedReward, device: torch.device) -> Reward:
    oracle: Reward = import_module("pipeline.demo.oracle").SceneOracle()
    return oracle


def _published(reward: ResolvedReward, device: torch.device) -> Reward:
    return published_class(reward.config.kind).load(reward.place, device)


_LOADERS: Mapping[str, Callable[[ResolvedReward, torch.device], Reward]] = {
    **dict.fromkeys(REQUIRED_FILES, _published),
    "custom": CustomReward.load,
    "scene": _scene,
    "scene_oracle": _scene_oracle,
}


def default_device() -> torch.device:
    """Return the GPU that is assigned to this process, or the CPU if there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
