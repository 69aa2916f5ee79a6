"""The plan: prompts x seeds, fixed before anything runs, with an identity of its own.

``plan_id`` is a digest of everything that decides the result: the prompts' text, the seeds, the
digests of the models' files, and every setting but those of ``[cluster]``. Paths do not count;
contents do. The same configuration therefore finds the same plan, and resumes it.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Config
from pipeline.errors import ModelError, PlanConflictError
from pipeline.fingerprint import ALGORITHM_VERSION
from pipeline.identity import (
    canonical_json,
    folder_digest,
    prompt_id,
    seeds_for,
    sha256,
    short,
    split_for,
)
from pipeline.records import SCHEMA_VERSION, Candidate, Record, Split
from pipeline.stages.prompts import read_prompts
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore

PROMPT_COLUMNS = pa.schema(
    [("prompt_id", pa.string()), ("prompt", pa.string()), ("split", pa.string())]
)


class Plan(Record):
    """What a build computes; stored as ``plan.json``."""

    schema_version: int
    algorithm_version: int
    plan_id: str
    settings: dict[str, Any]
    """The configuration's sections but ``[cluster]``, with digests in place of paths."""
    prompts_sha256: str
    """Digest of the distinct prompts in their order."""
    num_prompts: int
    num_duplicates: int
    """Prompts of the file that read like an earlier one and were left out."""
    num_candidates: int
    num_units: int

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
        root_seed = int(plan.settings["prompts"]["seed"])
        for position in positions:
            row, seed_index = divmod(position, plan.seeds_per_prompt)
            name = self.table["prompt_id"][row].as_py()
            yield Candidate(
                index=position,
                prompt=self.table["prompt"][row].as_py(),
                prompt_id=name,
                split=Split(self.table["split"][row].as_py()),
                seed=seeds_for(root_seed, name, seed_index + 1)[seed_index],
            )

    def sha256(self) -> str:
        """Digest of the prompts in their order."""
        return sha256(canonical_json(self.table["prompt"].to_pylist()))


def make_plan(config: Config) -> tuple[Plan, PromptTable]:
    """Read prompts and model files and fix what will be computed.

    Raises ``PromptFileError`` and ``ModelError``.
    """
    prompts = read_prompts(Path(config.prompts.path), config.prompts.format, config.prompts.column)
    fractions = config.splits.fractions()
    names = [prompt_id(prompt) for prompt in prompts.prompts]
    table = PromptTable(
        pa.table(
            {
                "prompt_id": names,
                "prompt": list(prompts.prompts),
                "split": [split_for(name, fractions).value for name in names],
            },
            schema=PROMPT_COLUMNS,
        )
    )
    num_candidates = len(names) * config.prompts.seeds_per_prompt
    decided: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "algorithm_version": ALGORITHM_VERSION,
        "settings": _settings(config),
        "prompts_sha256": table.sha256(),
        "num_prompts": len(names),
        "num_candidates": num_candidates,
        "num_units": -(-num_candidates // config.units.size),
    }
    plan = Plan(
        plan_id=short(sha256(canonical_json(decided))),
        # Not part of the identity: a repeat more or less in the file changes nothing.
        num_duplicates=prompts.num_duplicates,
        **decided,
    )
    return plan, table


def _settings(config: Config) -> dict[str, Any]:
    settings = config.model_dump(mode="json", exclude={"cluster"})
    for name in ("path", "format", "column"):
        # The prompts' own digest stands for where they came from.
        del settings["prompts"][name]
    settings["model"]["digest"] = _model_digest(settings["model"].pop("path"))
    for reward in settings["rewards"]:
        path = reward.pop("path")
        reward["digest"] = None if path is None else _model_digest(path)
    return settings


def _model_digest(path: str) -> str:
    folder = Path(path)
    if not folder.is_dir():
        raise ModelError(f"{folder}: no such model folder; put the model's files there")
    return folder_digest(folder)


def write_plan(store: ObjectStore, plan: Plan, table: PromptTable) -> Plan:
    """Put the plan into the store, or find it there; returns what is stored.

    Raises ``PlanConflictError`` if prompts of another content stand under its name.
    """
    buffer = io.BytesIO()
    pq.write_table(table.table, buffer, compression="zstd")
    if (
        not store.put_if_absent(layout.prompts_key(plan.plan_id), buffer.getvalue())
        # Another version of pyarrow may have written the same prompts in other bytes.
        and read_prompt_table(store, plan.plan_id).sha256() != plan.prompts_sha256
    ):
        raise PlanConflictError(f"{store.url}: plan {plan.plan_id} is there with other prompts")
    store.put_if_absent(
        layout.plan_key(plan.plan_id), plan.model_dump_json(indent=2).encode() + b"\n"
    )
    return read_plan(store, plan.plan_id)


def read_plan(store: ObjectStore, plan_id: str) -> Plan:
    """The stored plan. Raises ``ObjectNotFoundError``."""
    return Plan.model_validate_json(store.get(layout.plan_key(plan_id)))


def read_prompt_table(store: ObjectStore, plan_id: str) -> PromptTable:
    """The stored prompts. Raises ``ObjectNotFoundError``."""
    return PromptTable(pq.read_table(io.BytesIO(store.get(layout.prompts_key(plan_id)))))


def stored_plans(store: ObjectStore) -> list[str]:
    """Ids of all plans in the store, sorted."""
    return sorted(
        key.split("/")[1]
        for key in (info.key for info in store.list("plans/"))
        if key.endswith("/plan.json")
    )
