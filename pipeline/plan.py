"""The plan: prompts x seeds, fixed before anything runs, with an identity of its own.

``plan_id`` is a digest of everything that decides the result: the prompts' text, the seeds, the
digests of the models' files, and every setting but those of ``[cluster]``. Paths do not count;
contents do. The same configuration therefore finds the same plan, and resumes it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from pipeline.identity import canonical_json, prompt_id, seeds_for, sha256, short, split_for
from pipeline.prompts.funnel import PromptFunnel
from pipeline.records import Candidate, Record, RuleName, Split

PROMPT_COLUMNS = pa.schema(
    [("prompt_id", pa.string()), ("prompt", pa.string()), ("split", pa.string())]
)

# Which prompts were dropped changes nothing, and an id is not part of itself.
_NOT_DECIDING = {"plan_id", "prompt_funnel", "num_duplicates"}


class Plan(Record):
    """What a build computes; stored as ``plan.json``."""

    schema_version: int
    algorithm_version: int
    plan_id: str
    settings: dict[str, Any]
    """The configuration's sections but ``[cluster]``, with digests in place of paths; of
    ``[prompts]`` what the seeds follow from."""
    prompts_sha256: str
    """Digest of the distinct prompts in their order."""
    num_prompts: int
    prompt_funnel: PromptFunnel = PromptFunnel(sources=())
    """How many rows were read for these prompts, and what became of the others."""
    num_duplicates: int | None = None
    """Repeats that were left out, in plans of version 2, which counted nothing else."""
    num_candidates: int
    num_units: int

    def identity(self) -> str:
        """The id that follows from the content; another than ``plan_id`` means damage."""
        return short(sha256(canonical_json(self.model_dump(mode="json", exclude=_NOT_DECIDING))))

    @property
    def root_seed(self) -> int:
        """From which the seeds of all candidates follow."""
        return int(self.settings["prompts"]["seed"])

    @property
    def seeds_per_prompt(self) -> int:
        """Candidates for each prompt."""
        return int(self.settings["prompts"]["seeds_per_prompt"])

    @property
    def unit_size(self) -> int:
        """Candidates in a unit; the last one may hold fewer."""
        return int(self.settings["units"]["size"])

    @property
    def reward_names(self) -> list[str]:
        """Names of all rewards, in the order of the configuration."""
        return [str(reward["name"]) for reward in self.settings["rewards"]]

    @property
    def proposers(self) -> list[dict[str, Any]]:
        """How golden noise is proposed, each way with its kind and name.

        Before version 3 there was one way, in the section of its kind.
        """
        if "proposers" in self.settings:
            return list(self.settings["proposers"])
        kinds = [kind for kind in ("redenoise", "npnet") if kind in self.settings]
        return [{"kind": kind, "name": kind, **self.settings[kind]} for kind in kinds]

    @property
    def rule(self) -> RuleName:
        """How the rewards that select decide together; before version 3 there was one way."""
        rule: RuleName = self.settings.get("selection", {}).get("rule", "all")
        return rule

    @property
    def weights(self) -> dict[str, float]:
        """By the name of each reward that selects, what its gain counts where gains are added."""
        selecting = (r for r in self.settings["rewards"] if r["select"])
        return {r["name"]: float(r.get("weight", 1.0)) for r in selecting}

    @property
    def margins(self) -> dict[str, float]:
        """By the name of each reward that selects, how much better the golden image must be."""
        return {r["name"]: float(r["margin"]) for r in self.settings["rewards"] if r["select"]}

    def unit_range(self, unit: int) -> range:
        """Positions of a unit's candidates in the plan."""
        start = unit * self.unit_size
        return range(start, min(start + self.unit_size, self.num_candidates))


class PromptTable:
    """The distinct prompts of a plan, from which every candidate follows."""

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def candidates(self, plan: Plan, positions: Sequence[int]) -> Iterator[Candidate]:
        """The candidates at some positions: all seeds of one prompt stand together."""
        for position in positions:
            row, seed_index = divmod(position, plan.seeds_per_prompt)
            name = self.table["prompt_id"][row].as_py()
            yield Candidate(
                index=position,
                prompt=self.table["prompt"][row].as_py(),
                prompt_id=name,
                split=Split(self.table["split"][row].as_py()),
                seed=seeds_for(plan.root_seed, name, seed_index + 1)[seed_index],
            )

    def is_of(self, plan: Plan) -> bool:
        """Whether every column is what follows from the plan's prompts."""
        if self.table.schema != PROMPT_COLUMNS or self.sha256() != plan.prompts_sha256:
            return False
        fractions = {split: float(plan.settings["splits"][split.value]) for split in Split}
        names = [prompt_id(prompt) for prompt in self.table["prompt"].to_pylist()]
        splits = [split_for(name, fractions).value for name in names]
        return (self.table["prompt_id"].to_pylist(), self.table["split"].to_pylist()) == (
            names,
            splits,
        )

    def sha256(self) -> str:
        """Digest of the prompts in their order."""
        return sha256(canonical_json(self.table["prompt"].to_pylist()))
