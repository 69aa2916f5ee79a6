"""Digest of a reward's weights and code, for a plan."""

from pipeline.config.rewards import RewardConfig
from pipeline.entry_point import entry_digest
from pipeline.identity import canonical_json, sha256
from pipeline.models.rewards.published import PARTS, check_folder
from pipeline.models.source import locate, source_digest


def reward_digest(config: RewardConfig) -> str | None:
    """Return the digest of a reward's weights and code, or None for a kind without files.

    Raises ``ModelError`` for missing weights and ``EntryPointError`` for missing code.
    """
    if config.kind in PARTS:
        check_folder(config.kind, locate(config))
    weights = source_digest(config) if config.has_place else None
    if config.entry is None:
        return weights
    code = entry_digest(config.entry, config.code)
    return sha256(canonical_json({"code": code, "weights": weights}))
