"""A trained noise prompt network as a trial takes it."""

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
from pipeline.stages.proposers.network import NetworkProposer

DEFAULT_NAME = "NPNet"


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """A folder that training wrote."""

    name: str
    folder: Path
    digest: str

    @classmethod
    def of(cls, argument: str) -> Self:
        """From ``FOLDER`` or ``NAME=FOLDER``. Raises ``ModelError`` if no network is there."""
        name, equals, folder = argument.partition("=")
        path = Path(folder if equals else argument).expanduser().resolve()
        return cls(name=name if equals else DEFAULT_NAME, folder=path, digest=network_digest(path))

    def load(self, device: torch.device) -> Proposer:
        """Bring it into memory."""
        return NetworkProposer(network=NPNet.load(self.folder, device), rounds=1)


def networks_of(arguments: list[str]) -> tuple[TrainedNetwork, ...]:
    """The networks of a command line. Raises ``UserError`` where two have one name."""
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
    """Refuse networks that do not belong to a model; some may be allowed to be of another one.

    Raises ``ModelError``.
    """
    described = [(network.folder, read_description(network.folder)) for network in networks]
    for folder, each in described:
        refuse_other_rows(folder, each.layout, model)
    if allow_other_model or all(each.origin is None for _, each in described):
        return
    found = identity_of(model)
    for folder, each in described:
        refuse_other_model(folder, each.origin, found, "give --allow-other-model")
