"""From a configuration to a plan."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config import Config
from pipeline.fingerprint import ALGORITHM_VERSION
from pipeline.identity import prompt_id, split_for
from pipeline.models.model_index import check_model_folder
from pipeline.models.model_settings import PLACES, model_digests, model_settings
from pipeline.models.pipeline_files import locate_pipeline
from pipeline.models.rewards.identity import reward_digest
from pipeline.plan import PROMPT_COLUMNS, Plan, PromptTable
from pipeline.records import SCHEMA_VERSION
from pipeline.stages.prompts import read_prompts
from pipeline.stages.proposers.files import proposer_settings


def make_plan(config: Config) -> tuple[Plan, PromptTable]:
    """Read prompts and model files and fix what will be computed.

    Raises ``PromptFileError``, ``ModelError`` and ``EntryPointError``.
    """
    # Before anything is stored: a plan of a model that no worker can load would be in the way.
    check_model_folder(locate_pipeline(config.model).folder)
    settings = _settings(config)
    _add_digests(settings, config)
    plan, table = _plan(config, settings)
    return plan.model_copy(update={"plan_id": plan.identity()}), table


def draft_plan(config: Config) -> tuple[Plan, PromptTable]:
    """A plan without the digests of models that are not here, and so without an id.

    It says how much is to be computed. Raises ``PromptFileError``.
    """
    return _plan(config, _settings(config))


def _plan(config: Config, settings: dict[str, Any]) -> tuple[Plan, PromptTable]:
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
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        algorithm_version=ALGORITHM_VERSION,
        plan_id="",
        settings=settings,
        prompts_sha256=table.sha256(),
        num_prompts=len(names),
        num_duplicates=prompts.num_duplicates,
        num_candidates=num_candidates,
        num_units=-(-num_candidates // config.units.size),
    )
    return plan, table


def _settings(config: Config) -> dict[str, Any]:
    """All sections that decide, without where models are."""
    # Both forms of one proposer are one plan.
    settings = config.model_dump(mode="json", exclude={"cluster", "model", "redenoise", "npnet"})
    settings["proposers"] = proposer_settings(config)
    for name in ("path", "format", "column"):
        # The prompts' own digest stands for where they came from.
        del settings["prompts"][name]
    settings["model"] = model_settings(config.model)
    for reward in settings["rewards"]:
        for place in (*PLACES, "code"):
            del reward[place]
    return settings


def _add_digests(settings: dict[str, Any], config: Config) -> None:
    settings["model"] |= model_digests(config.model)
    for reward, section in zip(settings["rewards"], config.rewards, strict=True):
        reward["digest"] = reward_digest(section)
