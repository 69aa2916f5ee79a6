"""The published checkpoints, in their real sizes, fit the networks that are built for them."""

import torch
from transformers import CLIPModel

from pipeline.models.rewards.hps_v2 import from_open_clip, vit_h_14
from pipeline.models.rewards.image_reward import PUBLISHED, ImageRewardNetwork, from_published
from tests.models.rewards.recorded import layout


def _shapes(tensors: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def test_checkpoint_of_image_reward_fits_its_network() -> None:
    with torch.device("meta"):  # shapes without memory
        checkpoint = {n: torch.empty(shape) for n, shape in layout("image_reward_full").items()}
        network = ImageRewardNetwork(PUBLISHED)
    assert _shapes(from_published(checkpoint)) == _shapes(network.state_dict())


def test_checkpoint_of_hps_v2_fits_its_network() -> None:
    with torch.device("meta"):
        checkpoint = {name: torch.empty(shape) for name, shape in layout("hps_v2_full").items()}
        network = CLIPModel(vit_h_14())
    assert _shapes(from_open_clip(checkpoint)) == _shapes(network.state_dict())
