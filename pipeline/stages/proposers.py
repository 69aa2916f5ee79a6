"""Which proposer a plan has: re-denoising, or a noise prompt network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config import RedenoiseConfig
from pipeline.models.denoiser import Guidance
from pipeline.npnet import NPNet
from pipeline.stages.network_proposer import NetworkProposer
from pipeline.stages.propose import Proposer, Redenoise


@dataclass(frozen=True, kw_only=True)
class NetworkRounds:
    """A plan's ``[npnet]`` without its network, which a worker has to load."""

    rounds: int


ProposerSettings = RedenoiseConfig | NetworkRounds


def proposer_settings(settings: Mapping[str, Any]) -> ProposerSettings:
    """What a plan's settings say of its proposer."""
    if "npnet" in settings:
        return NetworkRounds(rounds=settings["npnet"]["rounds"])
    return RedenoiseConfig(**settings["redenoise"])


def proposal_evaluations(settings: ProposerSettings, guidance: Guidance) -> int:
    """Forward evaluations of the denoiser for one candidate's proposal, at most."""
    if isinstance(settings, NetworkRounds):
        return settings.rounds
    return Redenoise.of(settings, guidance).evaluations


def make_proposer(
    settings: ProposerSettings, guidance: Guidance, network: NPNet | None
) -> Proposer:
    """The proposer; ``network`` is needed where a network proposes."""
    if isinstance(settings, NetworkRounds):
        assert network is not None, "the plan proposes with a network: load it first"
        return NetworkProposer(network=network, rounds=settings.rounds)
    return Redenoise.of(settings, guidance)
