"""Trained noise prompt networks as proposers of a trial."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from pipeline.config.model import ModelConfig
from pipeline.errors import UserError
from pipeline.models.model_identity import identity_of, refuse_other_model, refuse_other_rows
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest, read_description
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers import NetworkProposer

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
        return NetworkProposer(network=NPNet.load(self.folder, device), rounds=1)


def networks_of(arguments: list[str]) -> tuple[TrainedNetwork, ...]:
    """Parse the networks of a command line. Raises ``UserError`` if two have the same name."""
    networks = tuple(map(TrainedNetwork.of, arguments))
    names = [network.name for network in networks]
    for name in names:
        if not name or names.count(name) > 1:
            raise UserError(
                f"a network is called {name!r} twice: name each, as --npnet NAME=FOLDER"
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
    found = identity_of(model)
    for folder, each in described:
        refuse_other_model(folder, each.origin, found, "give --allow-other-model")
