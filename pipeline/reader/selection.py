"""Selection of the pairs to read: checked arguments and filters on the ledger.

The filters are applied to the ledger before any shard is opened.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from pipeline.core.errors import UserError, VerificationError
from pipeline.core.records import Split
from pipeline.storage.formats.ledger import Ledger, Mask
from pipeline.storage.manifest import Manifest


@dataclass(frozen=True, kw_only=True)
class Filters:
    """Conditions that a pair must meet to be read. Raises ``UserError`` for invalid values."""

    plans: tuple[str, ...] | None = None
    """Ids of the plans to read. None reads all plans."""
    min_gain: Mapping[str, float] = field(default_factory=dict)
    """Maps a reward to the minimum of golden minus source score. Pairs without a score fail."""
    prompt: str | None = None
    """Regular expression that must match anywhere in the prompt."""
    scored: tuple[str, ...] = ()
    """Rewards for which both noises must have a score."""
    judged: bool | None = None
    """True reads only pairs that were judged, False only the others. None reads both."""

    def __post_init__(self) -> None:
        for name, gain in self.min_gain.items():
            if math.isnan(gain):
                raise UserError(f"min_gain of {name!r} is not a number")
        try:
            re.compile(self.prompt or "")
        except re.error as error:
            raise UserError(
                f"prompt {self.prompt!r} is not a regular expression: {error}"
            ) from None

    @property
    def by_row(self) -> bool:
        """True if the filters select individual pairs and not only plans."""
        optional = (self.prompt, self.judged)
        return bool(self.min_gain or self.scored) or any(value is not None for value in optional)

    def described(self) -> dict[str, object]:
        """Return the active filters as a JSON-compatible dictionary."""
        conditions: dict[str, object] = {
            "plans": None if self.plans is None else sorted(self.plans),
            "min_gain": dict(sorted(self.min_gain.items())),
            "prompt": self.prompt,
            "scored": sorted(self.scored),
            "judged": None if self.judged is None else str(self.judged),
        }
        return {name: value for name, value in conditions.items() if value}


def filters_from(
    plans: Sequence[str] | None,
    min_gain: Mapping[str, float] | None,
    prompt: str | None,
    reward: str | None = None,
    *,
    judged: bool | None = None,
) -> Filters:
    """Return the filters of a reader's arguments. With ``reward``, both noises need its score."""
    return Filters(
        plans=None if plans is None else names("plans", plans),
        min_gain=min_gain or {},
        prompt=prompt,
        scored=() if reward is None else (reward,),
        judged=judged,
    )


def check_rewards(filters: Filters, manifest: Manifest, where: str) -> None:
    """Raise ``UserError`` for a reward that a plan does not have."""
    names = manifest.plan.reward_names
    for name in (*filters.min_gain, *filters.scored):
        if name not in names:
            raise UserError(
                f"{where}: plan {manifest.plan_id} has no reward {name!r}; "
                f"there are {', '.join(names)}"
            )


def rows_passing(filters: Filters, manifest: Manifest, split: Split, ledger: Ledger) -> Mask:
    """Return a boolean mask of the pairs of a split that pass, in the order of its shards.

    The ledger holds all candidates in the plan's order. The shards hold the kept and the unjudged
    candidates in the same order. Raises ``VerificationError`` if their numbers differ.
    """
    there = ledger.in_shards(split)
    num_pairs = int(there.sum())
    # Rows are matched with the shards by position alone, so at least the numbers must agree.
    if num_pairs != manifest.num_samples(split):
        raise VerificationError(
            f"{manifest.ledger.key}: lists {num_pairs} pairs of {split}, "
            f"the shards hold {manifest.num_samples(split)}"
        )
    passing = np.ones(num_pairs, bool)
    if filters.judged is not None:
        passing &= ledger.judged()[there] == filters.judged
    rewards = (*filters.min_gain, *filters.scored)
    golden, source = (ledger.golden_rewards(), ledger.source_rewards()) if rewards else ({}, {})
    for name in rewards:
        gain = (golden[name] - source[name])[there]
        # A missing score is NaN. Comparisons with NaN are false, so the pair does not pass.
        passing &= gain >= filters.min_gain.get(name, -math.inf)
    if filters.prompt is not None:
        passing &= ledger.prompts_match(filters.prompt)[there]
    return passing


def split_named(name: str) -> Split:
    """Return the split with a name. Raise ``UserError`` if there is none."""
    try:
        return Split(name)
    except ValueError:
        raise UserError(f"no split {name!r}; there are {', '.join(Split)}") from None


def check_one_of(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise ``UserError`` if a value is not in ``allowed``."""
    if value not in allowed:
        raise UserError(f"no {name} {value!r}; there are {', '.join(allowed)}")


def check_at_least(least: int, **values: int | None) -> None:
    """Raise ``UserError`` if a named number is smaller than ``least``. None is accepted."""
    for name, value in values.items():
        if value is not None and value < least:
            raise UserError(f"{name} is at least {least}, not {value}")


def check_view(view: str, reward: str | None) -> None:
    """Raise ``UserError`` for an unknown view, or if ``reward`` does not go with it."""
    check_one_of("view", view, ("pair", "preference"))
    if (view == "preference") != (reward is not None):
        raise UserError('view="preference" and reward=… go together: give both or neither')


def names(name: str, values: Sequence[str]) -> tuple[str, ...]:
    """Return names as a tuple. Raise ``UserError`` for a string: its letters would be the names."""
    if isinstance(values, str):
        raise UserError(f"{name} is a list of names, not the text {values!r}")
    return tuple(values)
