"""The models of a configuration on this machine."""

from functools import cached_property

from pipeline.config.sections import Config
from pipeline.models.diffusers.resolved_model import ResolvedModel, resolve_model
from pipeline.models.rewards.resolved_reward import ResolvedReward, resolve_reward


class ResolvedModels:
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
