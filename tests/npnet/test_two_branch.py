"""The published two-branch network: its size, and its formula."""

import math

import torch
from torch import Tensor
from torch.nn.functional import layer_norm

from pipeline.npnet import NPNet
from pipeline.npnet.config import TwoBranchLayout
from pipeline.npnet.two_branch import PromptNorm, TwoBranchNetwork
from tests.npnet.layouts import TWO_BRANCH, inputs, shaken, without_gradient


def test_sdxl_layout_has_thirty_million_parameters_and_all_learn() -> None:
    layout = TwoBranchLayout()
    assert layout.folded_shape == (256, 256)
    npnet = shaken(layout)
    parameters = sum(parameter.numel() for parameter in npnet.parameters())
    assert 30_000_000 < parameters < 31_000_000
    noise, prompt_embeds = inputs(layout, 1)
    golden = npnet(noise, prompt_embeds)
    assert golden.shape == (1, 4, 128, 128)
    golden.square().sum().backward()
    assert {name for name in without_gradient(npnet) if not name.endswith("k_proj.bias")} == set()


def test_prompt_norm_normalises_each_noise_and_scales_each_channel() -> None:
    torch.manual_seed(1)
    norm = PromptNorm(4, 6 * 32)
    noise, prompt_embeds = inputs(TWO_BRANCH, 3)
    scale, shift = norm.linear(prompt_embeds.reshape(3, -1)).split(4, dim=1)
    normalised = layer_norm(noise, noise.shape[1:], eps=1e-6)
    expected = torch.stack(
        [
            normalised[:, c] * (1 + scale[:, c, None, None]) + shift[:, c, None, None]
            for c in range(4)
        ],
        1,
    )
    torch.testing.assert_close(norm(noise, prompt_embeds), expected)


def test_golden_noise_is_the_sum_of_the_branches() -> None:
    npnet = shaken(TWO_BRANCH).eval()
    network = npnet.network
    assert isinstance(network, TwoBranchNetwork)
    noise, prompt_embeds = inputs(TWO_BRANCH, 2)
    e: Tensor = network.prompt_norm(noise, prompt_embeds)
    alpha, beta = network.alpha.item(), network.beta.item()
    expected = (
        network.singular_values(noise)
        + math.tanh(alpha / 2) * e  # 2·sigmoid(α) − 1
        + beta * network.residual(noise + e)
    )
    torch.testing.assert_close(npnet(noise, prompt_embeds), expected)


def test_residual_pixels_stand_where_their_token_stood() -> None:
    """A change of one corner moves that corner more than the opposite one."""
    network = shaken(TWO_BRANCH).eval().network
    assert isinstance(network, TwoBranchNetwork)
    noise, _ = inputs(TWO_BRANCH, 1)
    touched = noise.clone()
    touched[:, :, :2, :2] += 3.0
    change = (network.residual(touched) - network.residual(noise)).abs().sum(1)[0]
    assert change[:2, :2].mean() > 2 * change[-2:, -2:].mean()


def test_two_branch_under_autocast_stays_close() -> None:
    npnet = NPNet.new(TWO_BRANCH, 0).eval()
    noise, prompt_embeds = inputs(TWO_BRANCH, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        golden = npnet(noise, prompt_embeds)
    assert golden.dtype == torch.float32
    torch.testing.assert_close(golden, noise, atol=1e-5, rtol=0)
