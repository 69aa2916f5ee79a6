"""From a configuration to a plan."""

from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.config.sections import Config
from pipeline.fingerprint import ALGORITHM_VERSION
from pipeline.identity import prompt_id, split_for
from pipeline.models.call_options import OPTIONS, refuse_options
from pipeline.models.families import FAMILIES
from pipeline.models.model_index import check_model_folder, components
from pipeline.models.model_settings import PLACES, leading_offset, model_digests, model_settings
from pipeline.models.pipeline_files import locate_pipeline
from pipeline.models.rewards.identity import reward_digest
from pipeline.plan import PROMPT_COLUMNS, Plan, PromptTable
from pipeline.prompts.choosing import ChosenPrompts, choose_prompts
from pipeline.records import SCHEMA_VERSION
from pipeline.stages.proposers.files import check_networks, proposer_settings

# Of [prompts]; the digest of the prompts stands for where they came from and how they were chosen.
_DECIDING_OF_PROMPTS = ("seeds_per_prompt", "seed")


def make_plan(config: Config) -> tuple[Plan, PromptTable]:
    """Read prompts and model files and fix what will be computed. Raises as ``prompts_of``."""
    return plan_of(config, prompts_of(config))


def draft_plan(config: Config, chosen: ChosenPrompts) -> tuple[Plan, PromptTable]:
    """A plan without the digests of models that are not here, and so without an id.

    It says how much is to be computed.
    """
    return _plan(config, chosen, _settings(config))


def prompts_of(config: Config) -> ChosenPrompts:
    """The prompts that a configuration asks for.

    Raises as ``choose_prompts`` does, and ``ModelError`` where the model's tokenizers are needed
    and not there.
    """
    if config.prompts.too_long != "drop":
        return choose_prompts(config.prompts, Path(), {})
    folder = locate_pipeline(config.model).folder
    limits = FAMILIES[check_model_folder(folder)].limits(config.model.max_sequence_length)
    parts = components(folder)
    # A tokenizer without its text encoder, as T5's may be in SD3, cuts nothing.
    read = {
        name: limit
        for name, limit in limits.items()
        if name.replace("tokenizer", "text_encoder") in parts
    }
    return choose_prompts(config.prompts, folder, read)


def plan_of(config: Config, chosen: ChosenPrompts) -> tuple[Plan, PromptTable]:
    """Fix what will be computed of some prompts. Raises ``ModelError`` and ``EntryPointError``."""
    # Before anything is stored: a plan of a model that no worker can load would be in the way.
    name = check_model_folder(locate_pipeline(config.model).folder)
    refuse_options(FAMILIES[name], _options(config), str(config.model))
    settings = _settings(config)
    _add_digests(settings, config)
    check_networks(config, settings["model"])
    plan, table = _plan(config, chosen, settings)
    return plan.model_copy(update={"plan_id": plan.identity()}), table


def _options(config: Config) -> list[str]:
    """Names of the options that are set of those that only some families take."""
    given = {**dict(config.model), "guidance_rescale": config.sampling.guidance_rescale or None}
    return [name for name in OPTIONS if given[name] is not None]


def _plan(
    config: Config, chosen: ChosenPrompts, settings: dict[str, Any]
) -> tuple[Plan, PromptTable]:
    fractions = config.splits.fractions()
    names = [prompt_id(prompt) for prompt in chosen.prompts]
    table = PromptTable(
        pa.table(
            {
                "prompt_id": names,
                "prompt": list(chosen.prompts),
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
        prompt_funnel=chosen.funnel,
        num_candidates=num_candidates,
        num_units=-(-num_candidates // config.units.size),
    )
    return plan, table


def _settings(config: Config) -> dict[str, Any]:
    """All sections that decide, without where models are."""
    # Both forms of one proposer are one plan.
    settings = config.model_dump(mode="json", exclude={"cluster", "model", "redenoise", "npnet"})
    settings["proposers"] = proposer_settings(config)
    settings["prompts"] = {name: settings["prompts"][name] for name in _DECIDING_OF_PROMPTS}
    settings["model"] = model_settings(config.model)
    for reward in settings["rewards"]:
        for place in (*PLACES, "code"):
            del reward[place]
    return settings


def _add_digests(settings: dict[str, Any], config: Config) -> None:
    settings["model"] |= model_digests(config.model)
    if any(each.get("timestep_spacing") == "leading" for each in settings["proposers"]):
        settings["model"] |= leading_offset(config.model)
    for reward, section in zip(settings["rewards"], config.rewards, strict=True):
        reward["digest"] = reward_digest(section)
