"""A trained noise prompt network as a trial takes it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from pipeline.errors import UserError
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest
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
