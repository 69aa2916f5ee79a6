"""Creation of a plan from a configuration."""

from pathlib import Path
from typing import Any

from pipeline.config.sections import Config
from pipeline.fingerprint import ALGORITHM_VERSION
from pipeline.models.diffusers.call_options import OPTIONS, refuse_options
from pipeline.models.diffusers.families import FAMILIES
from pipeline.models.diffusers.model_index import check_model_folder, components
from pipeline.models.diffusers.pipeline_files import locate_pipeline
from pipeline.models.model_identity import PLACES, leading_offset, model_digests, model_settings
from pipeline.models.rewards.identity import reward_digest
from pipeline.plan import Plan
from pipeline.prompts.choosing import ChosenPrompts, choose_prompts
from pipeline.records import SCHEMA_VERSION
from pipeline.stages.proposer_files import check_networks, proposer_settings
from pipeline.storage.formats.prompts import PromptTable

# Settings of [prompts] that enter the plan. The digest of the chosen prompts replaces the others,
# which only describe the source of the prompts and their choice.
_DECIDING_OF_PROMPTS = ("seeds_per_prompt", "seed")


def make_plan(config: Config) -> tuple[Plan, PromptTable]:
    """Read the prompts and the model files, and return the plan with its prompts.

    Raises the errors of ``prompts_of`` and ``plan_of``.
    """
    return plan_of(config, prompts_of(config))


def draft_plan(config: Config, chosen: ChosenPrompts) -> tuple[Plan, PromptTable]:
    """Return a plan without the digests of models, and therefore without an id.

    It serves to estimate the amount of work where the model is not installed.
    """
    return _plan(config, chosen, _settings(config))


def prompts_of(config: Config) -> ChosenPrompts:
    """Return the prompts that a configuration selects.

    Raises the errors of ``choose_prompts``, and ``ModelError`` if the tokenizers of the model are
    needed but missing.
    """
    if config.prompts.too_long != "drop":
        return choose_prompts(config.prompts, Path(), {})
    folder = locate_pipeline(config.model).folder
    limits = FAMILIES[check_model_folder(folder)].limits(config.model.max_sequence_length)
    parts = components(folder)
    # A tokenizer without its text encoder truncates nothing. SD3 may come without T5.
    read = {
        name: limit
        for name, limit in limits.items()
        if name.replace("tokenizer", "text_encoder") in parts
    }
    return choose_prompts(config.prompts, folder, read)


def plan_of(config: Config, chosen: ChosenPrompts) -> tuple[Plan, PromptTable]:
    """Return the plan for the chosen prompts, with its id.

    Raises ``ModelError`` and ``EntryPointError``.
    """
    # Check before anything is stored: a stored plan of a model that no worker can load would only
    # block the next attempt.
    name = check_model_folder(locate_pipeline(config.model).folder)
    refuse_options(FAMILIES[name], _options(config), str(config.model))
    settings = _settings(config)
    _add_digests(settings, config)
    check_networks(config, settings["model"])
    plan, table = _plan(config, chosen, settings)
    return plan.model_copy(update={"plan_id": plan.identity()}), table


def _options(config: Config) -> list[str]:
    """Return the names of the family-specific options that are set."""
    given = {**dict(config.model), "guidance_rescale": config.sampling.guidance_rescale or None}
    return [name for name in OPTIONS if given[name] is not None]


def _plan(
    config: Config, chosen: ChosenPrompts, settings: dict[str, Any]
) -> tuple[Plan, PromptTable]:
    table = PromptTable.of(chosen.prompts, config.splits.fractions())
    num_candidates = len(chosen.prompts) * config.prompts.seeds_per_prompt
    plan = Plan(
        schema_version=SCHEMA_VERSION,
        algorithm_version=ALGORITHM_VERSION,
        plan_id="",
        settings=settings,
        prompts_sha256=table.sha256(),
        num_prompts=len(chosen.prompts),
        prompt_funnel=chosen.funnel,
        num_candidates=num_candidates,
        num_units=-(-num_candidates // config.units.size),
    )
    return plan, table


def _settings(config: Config) -> dict[str, Any]:
    """Return the settings that affect the result, without the locations of models."""
    # A proposer can be configured in two forms. Both must give the same plan.
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
