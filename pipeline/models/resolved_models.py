"""Diffusion model and rewards of a configuration on this machine, located once in a command."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pipeline.config.rewards import RewardConfig
from pipeline.config.sections import Config
from pipeline.core.entry_point import entry_digest
from pipeline.core.identity import canonical_json, sha256
from pipeline.models.diffusers.resolved_model import ResolvedModel, resolve_model
from pipeline.models.rewards.published import REQUIRED_FILES, check_folder
from pipeline.models.source import OnThisMachine, ResolvedSource, resolve_source


@dataclass(frozen=True, kw_only=True)
class ResolvedReward(OnThisMachine):
    """A configured reward and its files on this machine."""

    config: RewardConfig
    files: ResolvedSource | None
    """Weights and other files, or None for a reward without any."""

    @property
    def place(self) -> Path:
        """Folder or file of a reward that has files."""
        assert self.files is not None, "checked by the configuration"
        return self.files.place

    @cached_property
    def digest(self) -> str | None:
        """Digest of weights and code for a plan, or None for a kind without files.

        Raises ``EntryPointError`` for missing code.
        """
        weights = None if self.files is None else self.files.digest
        if self.config.entry is None:
            return weights
        code = entry_digest(self.config.entry, self.config.code)
        return sha256(canonical_json({"code": code, "weights": weights}))


def resolve_reward(config: RewardConfig) -> ResolvedReward:
    """Locate the files of a reward on this machine, and fetch missing ones from the hub.

    Raises ``ModelError`` for missing files.
    """
    reward = ResolvedReward(
        config=config, files=resolve_source(config) if config.has_place else None
    )
    if config.kind in REQUIRED_FILES:
        check_folder(config.kind, reward.place)
    return reward


class ResolvedModels(OnThisMachine):
    """Diffusion model and rewards of a configuration, each located on first use and then kept.

    A command makes one and passes it to everything that reads model files. Raises ``ModelError``
    on first use of a model whose files are missing or not supported.
    """

    def __init__(self, config: Config) -> None:
        self._config = config

    @cached_property
    def model(self) -> ResolvedModel:
        """The diffusion model."""
        model = resolve_model(self._config.model)
        # Checked before anything is stored: a stored plan of a model that no worker can load would
        # only block the next attempt.
        model.index.check()
        return model

    @cached_property
    def rewards(self) -> tuple[ResolvedReward, ...]:
        """Rewards in the order of the configuration."""
        return tuple(map(resolve_reward, self._config.rewards))
