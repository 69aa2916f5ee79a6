"""Custom rewards: a user's class, named by ``entry``, and checks of its scores."""

from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.core.entry_point import make_entry
from pipeline.core.errors import EntryPointError
from pipeline.models.resolved_models import ResolvedReward
from pipeline.models.reward import Reward


class CustomReward:
    """Wrapper around a user's class that checks that it returns one score for each image."""

    def __init__(self, entry: str, reward: Reward) -> None:
        self._entry = entry
        self._reward = reward

    @classmethod
    def load(cls, resolved: ResolvedReward, device: torch.device) -> "CustomReward":
        """Create the class with the keywords ``device``, ``path`` (if configured) and its options.

        Raises ``EntryPointError`` for a class that is missing or does not accept these arguments.
        """
        config = resolved.config
        assert config.entry is not None, "checked by the configuration"
        path = {} if resolved.files is None else {"path": resolved.files.place}
        reward = make_entry(config.entry, config.code, {"device": device, **path, **config.options})
        if not callable(getattr(reward, "score", None)):
            raise EntryPointError(
                f"{config.entry} has no method score(prompts, images); see docs/judges.md"
            )
        return cls(config.entry, reward)

    @torch.no_grad()
    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return the scores of the class as float32 (B,) on the CPU.

        Raises ``EntryPointError`` unless it returns a tensor (B,).
        """
        scores = self._reward.score(prompts, images)
        if not isinstance(scores, Tensor) or scores.shape != (len(prompts),):
            found = tuple(scores.shape) if isinstance(scores, Tensor) else type(scores).__name__
            raise EntryPointError(
                f"{self._entry}: score returned {found} for {len(prompts)} images; it must return "
                f"a tensor ({len(prompts)},)"
            )
        return scores.float().cpu()
