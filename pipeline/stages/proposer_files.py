"""Proposers from files: trained networks and custom code.

A plan stores the digests of the files. A worker loads them from the paths in its configuration.
"""

import socket
from pathlib import Path

from pipeline.config.plan import Plan, PlannedCustom, PlannedModel, PlannedNetwork, PlannedProposer
from pipeline.config.proposers import CustomProposer, NPNetProposer, ProposerConfig
from pipeline.config.sections import Config
from pipeline.core.entry_point import entry_digest, make_entry
from pipeline.core.errors import EntryPointError, ModelError
from pipeline.diffusion.denoiser import Denoiser
from pipeline.models.diffusers.resolved_model import ResolvedModel
from pipeline.models.load import load_network
from pipeline.models.model_identity import planned_identity, refuse_other_model, with_text_encoder
from pipeline.npnet.network_files import network_digest, read_description
from pipeline.stages.propose import Proposer
from pipeline.stages.proposers import NetworkProposer


def proposer_settings(config: Config) -> tuple[PlannedProposer, ...]:
    """Return the settings of the proposers in the form that a plan stores.

    Raises ``ModelError`` and ``EntryPointError`` for files that are missing or unusable.
    """
    return tuple(_settings(proposer) for proposer in config.all_proposers())


def check_networks(config: Config, planned: PlannedModel, model: ResolvedModel) -> None:
    """Raise ``ModelError`` for a network that was trained for another model.

    ``planned`` is the model of the plan.
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
    for proposer, planned in zip(config.all_proposers(), plan.proposers, strict=True):
        expected = planned.digest if isinstance(planned, PlannedNetwork | PlannedCustom) else None
        if _digest(proposer) != expected:
            raise ModelError(
                f"{_place(proposer)}: its files on {socket.gethostname()} are not those of the "
                "plan; put the same on every machine"
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
            loaded[proposer.name] = _custom(proposer)
    return loaded


def _settings(proposer: ProposerConfig) -> PlannedProposer:
    # The digest of the files replaces their place, and ``allow_other_model`` only confirms a
    # choice, so neither enters a plan.
    match proposer:
        case NPNetProposer():
            digest = network_digest(proposer.path)
            return PlannedNetwork(
                kind=proposer.kind, name=proposer.name, rounds=proposer.rounds, digest=digest
            )
        case CustomProposer():
            digest = entry_digest(proposer.entry, proposer.code)
            loaded = _custom(proposer)
            return PlannedCustom(
                kind=proposer.kind,
                name=proposer.name,
                entry=proposer.entry,
                options=proposer.options,
                digest=digest,
                proposals=loaded.proposals,
                evaluations=loaded.evaluations,
            )
    return proposer.explicit()


def _place(proposer: ProposerConfig) -> str:
    match proposer:
        case NPNetProposer():
            return proposer.path
        case CustomProposer():
            return proposer.entry
    return proposer.name


def _digest(proposer: ProposerConfig) -> str | None:
    match proposer:
        case NPNetProposer():
            return network_digest(proposer.path)
        case CustomProposer():
            return entry_digest(proposer.entry, proposer.code)
    return None


def _custom(proposer: CustomProposer) -> Proposer:
    made = make_entry(proposer.entry, proposer.code, proposer.options)
    counts = (getattr(made, "proposals", None), getattr(made, "evaluations", None))
    # ``type(c) is int`` because True is an instance of int but not a count.
    if not callable(getattr(made, "propose", None)) or not all(type(c) is int for c in counts):
        raise EntryPointError(
            f"{proposer.entry}: no proposer; it needs the integers `proposals` and "
            "`evaluations`, and the method `propose` (docs/proposers.md)"
        )
    loaded: Proposer = made
    if loaded.proposals < 1 or loaded.evaluations < 0:
        raise EntryPointError(
            f"{proposer.entry}: proposals must be at least 1 and evaluations at least 0, not "
            f"{loaded.proposals} and {loaded.evaluations}"
        )
    return loaded
