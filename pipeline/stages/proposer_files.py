"""Proposers from files: trained networks and custom code.

A plan stores the digests of the files. A worker loads them from the paths in its configuration.
"""

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config.proposers import CustomProposer, NPNetProposer, ProposerConfig
from pipeline.config.sections import Config
from pipeline.diffusion.denoiser import Denoiser
from pipeline.entry_point import entry_digest, make_entry
from pipeline.errors import EntryPointError, ModelError
from pipeline.models.diffusers.resolved_model import ResolvedModel
from pipeline.models.load import load_network
from pipeline.models.model_identity import planned_identity, refuse_other_model, with_text_encoder
from pipeline.npnet.network_files import network_digest, read_description
from pipeline.plan import Plan
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers import NetworkProposer

_NOT_DECIDING = {"path", "code", "allow_other_model"}
"""Settings that do not enter a plan.

The digest of the files replaces their location, and ``allow_other_model`` only confirms a choice.
"""


def proposer_settings(config: Config) -> list[dict[str, Any]]:
    """Return the settings of the proposers in the form that a plan stores.

    Raises ``ModelError`` and ``EntryPointError`` for files that are missing or unusable.
    """
    return [_settings(proposer) for proposer in config.all_proposers()]


def check_networks(config: Config, planned: Mapping[str, Any], model: ResolvedModel) -> None:
    """Raise ``ModelError`` for a network that was trained for another model.

    ``planned`` holds the model settings of the plan.
    """
    proposers = config.all_proposers()
    networks = [p for p in proposers if isinstance(p, NPNetProposer) and not p.allow_other_model]
    if networks:
        found = with_text_encoder(planned_identity(planned), model)
    for network in networks:
        origin = read_description(Path(network.path)).origin
        remedy = "set allow_other_model = true beside its path"
        refuse_other_model(network.path, origin, found, remedy)


def check_proposers(config: Config, plan: Plan) -> None:
    """Check that the files of the proposers are those of the plan.

    Raises ``ModelError`` if they differ, and ``ModelError`` or ``EntryPointError`` if they are
    unusable.
    """
    for proposer, settings in zip(config.all_proposers(), plan.proposers, strict=True):
        if _digest(proposer) != settings.get("digest"):
            place = proposer.path if isinstance(proposer, NPNetProposer) else settings["entry"]
            raise ModelError(
                f"{place}: its files on {socket.gethostname()} are not those of the plan; "
                "put the same on every machine"
            )


def load_proposers(config: Config, denoiser: Denoiser) -> dict[str, Proposer]:
    """Load the proposers of a configuration that come from files, by name.

    Raises ``ModelError`` and ``EntryPointError``.
    """
    loaded: dict[str, Proposer] = {}
    for proposer in config.all_proposers():
        if isinstance(proposer, NPNetProposer):
            network = load_network(proposer, denoiser, config.model)
            loaded[proposer.name] = NetworkProposer(network=network, rounds=proposer.rounds)
        if isinstance(proposer, CustomProposer):
            loaded[proposer.name] = _own(proposer)
    return loaded


def _settings(proposer: ProposerConfig) -> dict[str, Any]:
    settings = proposer.model_dump(mode="json", exclude=_NOT_DECIDING)
    digest = _digest(proposer)
    if digest is not None:
        settings["digest"] = digest
    if isinstance(proposer, CustomProposer):
        own = _own(proposer)
        settings |= {"proposals": own.proposals, "evaluations": own.evaluations}
    return settings


def _digest(proposer: ProposerConfig) -> str | None:
    match proposer:
        case NPNetProposer():
            return network_digest(proposer.path)
        case CustomProposer():
            return entry_digest(proposer.entry, proposer.code)
    return None


def _own(proposer: CustomProposer) -> Proposer:
    made = make_entry(proposer.entry, proposer.code, proposer.options)
    counts = (getattr(made, "proposals", None), getattr(made, "evaluations", None))
    if not callable(getattr(made, "propose", None)) or not all(type(c) is int for c in counts):
        raise EntryPointError(
            f"{proposer.entry}: no proposer; it needs the whole numbers `proposals` and "
            "`evaluations`, and the method `propose` (docs/proposers.md)"
        )
    own: Proposer = made
    if own.proposals < 1 or own.evaluations < 0:
        raise EntryPointError(
            f"{proposer.entry}: proposals must be at least 1 and evaluations at least 0, not "
            f"{own.proposals} and {own.evaluations}"
        )
    return own
