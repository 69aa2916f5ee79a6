"""Conversion of a pair to a preference: a winner noise, a loser noise and their reward gap."""

from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.reader.arguments import check_one_of
from pipeline.reader.samples import COLUMNS, NOISES, REWARDS

NEEDED = (*NOISES, *REWARDS)


def check_view(view: str, reward: str | None) -> None:
    """Raise ``UserError`` for an unknown view, or if ``reward`` does not go with it."""
    check_one_of("view", view, ("pair", "preference"))
    if (view == "preference") != (reward is not None):
        raise UserError('view="preference" and reward=… go together: it needs one to prefer by')


def preference_columns(columns: tuple[str, ...]) -> tuple[str, ...]:
    """Return the columns to read so that ``columns`` can be returned as preferences."""
    return tuple(name for name in COLUMNS if name in columns or name in NEEDED)


def as_preference(sample: dict[str, Any], reward: str) -> dict[str, Any]:
    """Replace noises and scores by ``winner_noise``, ``loser_noise`` and ``reward_gap``.

    The winner is the noise with the higher score under ``reward``. The golden noise wins a tie. The
    gap is never negative. It is a float for a sample and float32 of shape (B,) for a batch.
    """
    source, golden = (sample[name] for name in NOISES)
    gain = sample["golden_rewards"][reward] - sample["source_rewards"][reward]
    kept = {name: value for name, value in sample.items() if name not in NEEDED}
    if isinstance(gain, Tensor):
        golden_wins = (gain >= 0).view(-1, *[1] * (source.dim() - 1))
        winner = torch.where(golden_wins, golden, source)
        loser = torch.where(golden_wins, source, golden)
    else:
        winner, loser = (golden, source) if gain >= 0 else (source, golden)
    return {**kept, "winner_noise": winner, "loser_noise": loser, "reward_gap": abs(gain)}
