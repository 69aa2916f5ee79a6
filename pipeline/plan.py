"""Plan of a build: all prompts and seeds, fixed before anything runs.

``plan_id`` is a digest of everything that affects the result: the text of the prompts, the seeds,
the digests of the model files and all settings except ``[cluster]``. It covers the contents of
files and not their paths. The same configuration therefore finds and resumes the same plan.
"""

from typing import Any

from pipeline.identity import canonical_json, sha256, short
from pipeline.prompt_funnel import PromptFunnel
from pipeline.records import Record, RuleName

# Dropped prompts do not affect the result, and an id cannot cover itself.
_NOT_DECIDING = {"plan_id", "prompt_funnel", "num_duplicates"}


class Plan(Record):
    """Description of everything that a build computes, stored as ``plan.json``."""

    schema_version: int
    algorithm_version: int
    plan_id: str
    settings: dict[str, Any]
    """Sections of the configuration without ``[cluster]``. Digests replace paths, and ``[prompts]``
    holds only the settings of the seeds."""
    prompts_sha256: str
    """Digest of the distinct prompts in order."""
    num_prompts: int
    prompt_funnel: PromptFunnel = PromptFunnel(sources=())
    """Counts of the rows that were read, kept and dropped, by reason."""
    num_duplicates: int | None = None
    """Number of repeated prompts left out, in plans of version 2 only."""
    num_candidates: int
    num_units: int

    def identity(self) -> str:
        """Return the id computed from the content. A plan with another ``plan_id`` is damaged."""
        return short(sha256(canonical_json(self.model_dump(mode="json", exclude=_NOT_DECIDING))))

    @property
    def root_seed(self) -> int:
        """Root seed, from which the seeds of all candidates are derived."""
        return int(self.settings["prompts"]["seed"])

    @property
    def seeds_per_prompt(self) -> int:
        """Number of candidates per prompt."""
        return int(self.settings["prompts"]["seeds_per_prompt"])

    @property
    def unit_size(self) -> int:
        """Number of candidates per unit. The last unit may hold fewer."""
        return int(self.settings["units"]["size"])

    @property
    def reward_names(self) -> list[str]:
        """Names of all rewards, in the order of the configuration."""
        return [str(reward["name"]) for reward in self.settings["rewards"]]

    @property
    def proposers(self) -> list[dict[str, Any]]:
        """Settings of the proposers of golden noise, each with its kind and name.

        Plans before version 3 have one proposer, in the section named after its kind.
        """
        if "proposers" in self.settings:
            return list(self.settings["proposers"])
        kinds = [kind for kind in ("redenoise", "npnet") if kind in self.settings]
        return [{"kind": kind, "name": kind, **self.settings[kind]} for kind in kinds]

    @property
    def rule(self) -> RuleName:
        """Rule that combines the selecting rewards. Plans before version 3 always use ``all``."""
        rule: RuleName = self.settings.get("selection", {}).get("rule", "all")
        return rule

    @property
    def weights(self) -> dict[str, float]:
        """Maps each selecting reward to the weight of its gain in a weighted sum."""
        selecting = (r for r in self.settings["rewards"] if r["select"])
        return {r["name"]: float(r.get("weight", 1.0)) for r in selecting}

    @property
    def margins(self) -> dict[str, float]:
        """Maps each selecting reward to the gain that the golden image must exceed."""
        return {r["name"]: float(r["margin"]) for r in self.settings["rewards"] if r["select"]}

    def unit_range(self, unit: int) -> range:
        """Return the positions of the candidates of a unit in the plan."""
        start = unit * self.unit_size
        return range(start, min(start + self.unit_size, self.num_candidates))
