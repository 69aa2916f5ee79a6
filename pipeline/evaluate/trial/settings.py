"""What decides a trial: samples, arms, models. Chunks of results are named by it."""

from functools import cache
from typing import Any, Protocol

import torch

from pipeline.config.proposers import RedenoiseProposer
from pipeline.config.sections import Config, SamplingConfig
from pipeline.errors import UserError
from pipeline.evaluate.trial.arm_runner import ArmRunner
from pipeline.evaluate.trial.arm_specs import GOLDEN, ArmSpec, Options, build_arms
from pipeline.fingerprint import fingerprint
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.model_settings import model_digests, model_settings
from pipeline.models.rewards.identity import reward_digest
from pipeline.records import Record
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers.redenoise import Redenoise


class Network(Protocol):
    """A proposer that a trial judges: hashable, and sent to other processes by value."""

    @property
    def name(self) -> str:
        """How tables call it."""
        ...

    @property
    def digest(self) -> str:
        """That of everything which decides its noise."""
        ...

    def load(self, device: torch.device) -> Proposer:
        """Bring it into memory."""
        ...


class TrialSettings(Record):
    """What a person chooses, beside the configuration and the networks."""

    sampling: SamplingConfig
    """How images are sampled; the configuration's, but perhaps with more steps."""
    seeds_per_prompt: int
    seed: int
    """Root of the samples' seeds."""
    batch_size: int
    guidance: tuple[float, ...]
    """Scales at which proposed noise is compared with standard noise too."""
    plain_guidance: tuple[float, ...]
    """Scales at which guided sampling of standard noise competes."""
    limit_guidance: int | None
    """Samples for the comparisons under guidance; None for all."""
    limit_controls: int | None
    """Samples for the controls; None for all."""


class Setup:
    """A configuration, networks and settings: all that a process needs to compute chunks.

    Compared and hashed by what it loads, so that a process loads it once. Raises ``UserError`` for
    a configuration that does more, or something else, than to re-denoise.
    """

    def __init__(
        self, config: Config, networks: tuple[Network, ...], settings: TrialSettings
    ) -> None:
        proposers = config.all_proposers()
        if len(proposers) != 1 or not isinstance(proposers[0], RedenoiseProposer):
            raise UserError(
                "a trial measures against re-denoised golden noise: give a configuration with "
                "[redenoise], and networks by --npnet"
            )
        self.config = config
        self.redenoise = proposers[0]
        self.networks = networks
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setup) and self._key() == other._key()

    def __hash__(self) -> int:
        # As text, because a reward's options are a table, which has no hash.
        return hash((self.config.model_dump_json(), self.networks, self.settings))

    def _key(self) -> tuple[object, ...]:
        return self.config, self.networks, self.settings

    @property
    def selecting(self) -> str:
        """The first reward that selected pairs; best-of-n seeds are chosen by it."""
        return next(reward.name for reward in self.config.rewards if reward.select)

    @property
    def judging(self) -> str:
        """The reward that the claim is judged by: the first that selected nothing, if any."""
        independent = (reward.name for reward in self.config.rewards if not reward.select)
        return next(independent, self.selecting)

    def golden(self) -> Redenoise:
        """The proposer of the data set's golden noise."""
        return Redenoise.of(self.redenoise, self.config.model.guidance)

    def entries(self) -> list[ArmSpec]:
        """The arms."""
        settings = self.settings
        return build_arms(
            Options(
                model_guidance=self.config.model.guidance,
                sampling=settings.sampling,
                golden_evaluations=self.golden().evaluations,
                networks=tuple(network.name for network in self.networks),
                guidance=settings.guidance,
                plain_guidance=settings.plain_guidance,
                limit_guidance=settings.limit_guidance,
                limit_controls=settings.limit_controls,
            )
        )

    def described(self) -> dict[str, Any]:
        """All that decides the images and scores, as JSON: digests in place of paths."""
        config = self.config
        return {
            "model": model_settings(config.model) | model_digests(config.model),
            "rewards": [
                {
                    **reward.model_dump(include={"name", "kind", "select", "entry", "options"}),
                    "digest": reward_digest(reward),
                }
                for reward in config.rewards
            ],
            "redenoise": self.redenoise.model_dump(),
            "networks": {network.name: network.digest for network in self.networks},
            "settings": self.settings.model_dump(),
            "arms": [entry.described() for entry in self.entries()],
            "fingerprint": fingerprint(default_device()).model_dump(),
        }


@cache
def load_bench(setup: Setup) -> ArmRunner:
    """The models of a setup, loaded once a process. Raises ``ModelError``."""
    device = default_device()
    proposers = {network.name: network.load(device) for network in setup.networks}
    return ArmRunner(
        denoiser=load_denoiser(setup.config.model, device, setup.config.cluster.cpu_offload),
        rewards=load_rewards(setup.config.rewards, device),
        selecting=setup.selecting,
        proposers={GOLDEN: setup.golden(), **proposers},
        sampling=setup.settings.sampling,
    )
