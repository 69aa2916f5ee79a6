"""The share of the residual's variance that a network explains, against closed forms."""

import pytest
import torch
from torch import Tensor

from pipeline.npnet import NPNet
from pipeline.training.data import PairBatch, PromptEncoder
from pipeline.training.fit import normalized_mse, residual_std, variance_explained
from pipeline.training.settings import TrainingSettings
from tests.sealed import demo_models


class Known(NPNet):
    """Network that moves a share of the way to the golden noise, which is source + 0.5."""

    def __init__(self, share: float) -> None:
        torch.nn.Module.__init__(self)
        self.share = share
        self.register_buffer("residual_std", torch.ones(()))

    def forward(self, noise: Tensor, prompt_embeds: Tensor) -> Tensor:
        return noise + self.share * 0.5


def _batches(sizes: list[int]) -> list[PairBatch]:
    generator = torch.Generator().manual_seed(0)
    noises = [torch.randn(size, 4, 8, 8, generator=generator) for size in sizes]
    return [
        PairBatch(source_noise=x, golden_noise=x + 0.5, prompts=["a red circle"] * len(x))
        for x in noises
    ]


@pytest.mark.parametrize(("share", "explained"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.75), (2.0, 0.0)])
def test_variance_explained_of_a_known_share(share: float, explained: float) -> None:
    encode = PromptEncoder.of(demo_models()[0])
    found = variance_explained(Known(share), _batches([3, 1, 2]), encode)
    assert found == pytest.approx(explained, abs=1e-5)


def test_residual_std_is_that_of_all_values_together() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(6, 4, 8, 8, generator=generator)
    golden = x + torch.randn(6, 4, 8, 8, generator=generator) * 0.3
    parts = [
        PairBatch(source_noise=x[a:b], golden_noise=golden[a:b], prompts=[""] * (b - a))
        for a, b in ((0, 1), (1, 6))
    ]
    expected = (golden - x).square().mean().sqrt()
    torch.testing.assert_close(residual_std(parts), expected)


def test_loss_is_one_for_a_network_that_changes_nothing() -> None:
    (batch,) = _batches([4])
    x, golden = batch.source_noise, batch.golden_noise
    embeds, std = torch.zeros(4, 6, 32), torch.tensor(0.5)
    assert normalized_mse(Known(0.0), x, golden, embeds, std).item() == pytest.approx(1.0)
    assert normalized_mse(Known(0.5), x, golden, embeds, std).item() == pytest.approx(0.25)


def test_learning_rate_rises_then_falls_to_zero_along_a_cosine() -> None:
    settings = TrainingSettings(steps=100, warmup_steps=10, learning_rate=2.0)
    rates = [settings.learning_rate_factor(step) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[50] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0.0)
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
