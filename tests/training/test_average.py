"""Running average of weights, against its formula."""

import torch
from torch import nn

from pipeline.training.average import running_average


def _set(network: nn.Linear, value: float) -> None:
    with torch.no_grad():
        network.weight.fill_(value)


def _averaged(decay: float, values: list[float]) -> list[float]:
    """Return the average after each of ``values``, for a weight that starts at 1."""
    network = nn.Linear(1, 1, bias=False)
    _set(network, 1.0)
    average = running_average(network, decay)
    found = []
    for value in values:
        _set(network, value)
        average.update_parameters(network)
        (weight,) = average.module.parameters()
        found.append(weight.item())
    return found


def test_average_decays_faster_in_its_first_updates() -> None:
    values = [float(n % 5) for n in range(1, 41)]
    expected, slow = [], 1.0
    for n, value in enumerate(values, start=1):
        decay = min(0.5, n / (n + 9))
        slow = decay * slow + (1 - decay) * value
        expected.append(slow)
    torch.testing.assert_close(torch.tensor(_averaged(0.5, values)), torch.tensor(expected))
    # The first update keeps a tenth of the initial weight.
    assert abs(_averaged(0.5, [0.0])[0] - 0.1) < 1e-6


def test_average_without_decay_is_the_last_network() -> None:
    assert _averaged(0.0, [3.0, 0.1, 7.0]) == [3.0, torch.tensor(0.1).item(), 7.0]


def test_average_continues_from_its_state() -> None:
    network = nn.Linear(3, 2)
    average = running_average(network, 0.9)
    average.update_parameters(nn.Linear(3, 2))
    resumed = running_average(nn.Linear(3, 2), 0.9)
    resumed.load_state_dict(average.state_dict())
    later = nn.Linear(3, 2)
    average.update_parameters(later)
    resumed.update_parameters(later)
    for expected, found in zip(average.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(found, expected)
    assert not any(parameter.requires_grad for parameter in resumed.parameters())
