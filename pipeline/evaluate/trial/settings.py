"""Settings, networks and models of a trial.

The digest of the settings is part of the names of the chunks' files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, Self

import torch

from pipeline.config.model import ModelConfig
from pipeline.config.proposers import RedenoiseProposer
from pipeline.config.sections import Config, SamplingConfig
from pipeline.core.errors import UserError
from pipeline.core.fingerprint import fingerprint
from pipeline.core.records import Record
from pipeline.evaluate.trial.arm_runner import ArmRunner
from pipeline.evaluate.trial.arm_specs import GOLDEN, ArmOptions, ArmSpec, build_arms
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import default_device, load_denoiser, load_rewards
from pipeline.models.model_identity import (
    identity_of,
    model_settings,
    refuse_other_model,
    refuse_other_rows,
    with_digests,
)
from pipeline.models.resolved_models import ResolvedModels
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest, read_description
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers import NetworkProposer, Redenoise
from pipeline.training.record import TrainingTime, training_time

DEFAULT_NAME = "NPNet"


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """Trained network in a folder, with its name in the trial and its digest."""

    name: str
    folder: Path
    digest: str

    @classmethod
    def of(cls, argument: str) -> Self:
        """Parse ``FOLDER`` or ``NAME=FOLDER``. Raises ``ModelError`` if it has no network."""
        name, equals, folder = argument.partition("=")
        path = Path(folder if equals else argument).expanduser().resolve()
        return cls(name=name if equals else DEFAULT_NAME, folder=path, digest=network_digest(path))

    def load(self, device: torch.device) -> Proposer:
        """Load the network onto a device."""
        # A second round is an arm of the trial.
        return NetworkProposer(network=NPNet.load(self.folder, device), rounds=1)


def networks_of(arguments: list[str]) -> tuple[TrainedNetwork, ...]:
    """Parse the networks of a command line. Raises ``UserError`` if two have the same name."""
    networks = tuple(map(TrainedNetwork.of, arguments))
    names = [network.name for network in networks]
    for name in names:
        if not name or names.count(name) > 1:
            raise UserError(
                f"names of networks must be unique, and {name!r} is not; give --npnet NAME=FOLDER"
            )
    return networks


def refuse_other_networks(
    networks: Sequence[TrainedNetwork], model: ModelConfig, *, allow_other_model: bool
) -> None:
    """Raise ``ModelError`` if a network does not fit the model.

    With ``allow_other_model``, networks that were trained for a different model are accepted if
    their input has the model's layout.
    """
    described = [(network.folder, read_description(network.folder)) for network in networks]
    for folder, each in described:
        refuse_other_rows(folder, each.layout, model)
    if allow_other_model or all(each.origin is None for _, each in described):
        return
    found = identity_of(resolve_model(model))
    for folder, each in described:
        refuse_other_model(folder, each.origin, found, "give --allow-other-model")


def training_of(networks: "Sequence[EvaluatedNetwork]") -> TrainingTime | None:
    """Return how long the training of the first network took; None if it is not recorded."""
    if not networks or not isinstance(networks[0], TrainedNetwork):
        return None
    return training_time(networks[0].folder, networks[0].digest)


class EvaluatedNetwork(Protocol):
    """Proposer that a trial evaluates. It must be hashable and picklable."""

    @property
    def name(self) -> str:
        """Name of the proposer in tables."""
        ...

    @property
    def digest(self) -> str:
        """Digest of everything that affects its noise."""
        ...

    def load(self, device: torch.device) -> Proposer:
        """Load the proposer onto a device."""
        ...


class TrialSettings(Record):
    """Settings of a trial besides the configuration and the networks."""

    sampling: SamplingConfig
    """Sampling settings of the configuration, possibly with more steps."""
    seeds_per_prompt: int
    seed: int
    """Root seed from which the seeds of the samples are derived."""
    batch_size: int
    guidance: tuple[float, ...]
    """Guidance scales at which proposed noise is also compared with standard noise."""
    plain_guidance: tuple[float, ...]
    """Guidance scales of the arms that sample standard noise with guidance."""
    limit_guidance: int | None
    """Maximum number of samples of the arms with more evaluations; None for all."""
    limit_controls: int | None
    """Maximum number of samples of the controls; None for all."""


class Setup:
    """Configuration, networks and settings: everything that a process needs to compute chunks.

    Setups are equal if their contents are equal, so that a process loads the models once. Raises
    ``UserError`` unless re-denoising is the configuration's only proposer.
    """

    def __init__(
        self, config: Config, networks: tuple[EvaluatedNetwork, ...], settings: TrialSettings
    ) -> None:
        proposers = config.all_proposers()
        if len(proposers) != 1 or not isinstance(proposers[0], RedenoiseProposer):
            raise UserError(
                "a trial compares with re-denoised golden noise; give a configuration with "
                "[redenoise] as its only proposer, and networks with --npnet"
            )
        self.config = config
        self.redenoise = proposers[0]
        self.networks = networks
        self.settings = settings

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Setup) and self._key() == other._key()

    def __hash__(self) -> int:
        # The configuration is hashed as JSON because a reward's options are an unhashable dict.
        return hash((self.config.model_dump_json(), self.networks, self.settings))

    def _key(self) -> tuple[object, ...]:
        return self.config, self.networks, self.settings

    @property
    def selecting(self) -> str:
        """Name of the first reward that selects pairs. It also chooses the best of n seeds."""
        return next(reward.name for reward in self.config.rewards if reward.select)

    @property
    def judging(self) -> str:
        """Name of the first reward that does not select pairs, or else of the selecting reward."""
        independent = (reward.name for reward in self.config.rewards if not reward.select)
        return next(independent, self.selecting)

    def golden(self) -> Redenoise:
        """Return the proposer that makes golden noise like the data set's."""
        return Redenoise(settings=self.redenoise, guidance=self.config.model.guidance)

    def arm_specs(self) -> list[ArmSpec]:
        """Return the arms of the trial."""
        settings = self.settings
        return build_arms(
            ArmOptions(
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
        """Return everything that affects images and scores, as JSON with digests, not paths."""
        config = self.config
        models = ResolvedModels(config)
        model = with_digests(model_settings(config.model), models.model)
        return {
            "model": model.model_dump(mode="json", exclude_unset=True),
            "rewards": [
                {
                    **reward.config.model_dump(
                        include={"name", "kind", "select", "entry", "options"}
                    ),
                    "digest": reward.digest,
                }
                for reward in models.rewards
            ],
            "redenoise": self.redenoise.model_dump(),
            "networks": {network.name: network.digest for network in self.networks},
            "settings": self.settings.model_dump(),
            "arms": [spec.described() for spec in self.arm_specs()],
            "fingerprint": fingerprint(default_device()).model_dump(),
        }


@cache
def load_runner(setup: Setup) -> ArmRunner:
    """Load the models of a setup, once for each process. Raises ``ModelError``."""
    device = default_device()
    models = ResolvedModels(setup.config)
    proposers = {network.name: network.load(device) for network in setup.networks}
    return ArmRunner(
        denoiser=load_denoiser(models.model, device, setup.config.cluster.cpu_offload),
        rewards=load_rewards(models.rewards, device),
        selecting=setup.selecting,
        proposers={GOLDEN: setup.golden(), **proposers},
        sampling=setup.settings.sampling,
    )
