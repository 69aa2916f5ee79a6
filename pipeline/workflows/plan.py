"""Creation of a plan from a configuration."""

from pathlib import Path
from typing import Any

from pipeline.config.sections import Config
from pipeline.fingerprint import ALGORITHM_VERSION
from pipeline.models.diffusers.call_options import OPTIONS, refuse_options
from pipeline.models.model_identity import PLACES, leading_offset, model_digests, model_settings
from pipeline.models.resolved_models import ResolvedModels
from pipeline.plan import Plan
from pipeline.prompts.choosing import ChosenPrompts, choose_prompts
from pipeline.records import SCHEMA_VERSION
from pipeline.stages.proposer_files import check_networks, proposer_settings
from pipeline.storage.formats.prompts import PromptTable

# Settings of [prompts] that enter the plan. The digest of the chosen prompts replaces the others,
# which only describe the source of the prompts and their choice.
_DECIDING_OF_PROMPTS = ("seeds_per_prompt", "seed")


def make_plan(config: Config, models: ResolvedModels | None = None) -> tuple[Plan, PromptTable]:
    """Read the prompts and the model files, and return the plan with its prompts.

    Raises the errors of ``prompts_of`` and ``plan_of``.
    """
    models = models or ResolvedModels(config)
    return plan_of(config, models, prompts_of(config, models))


def draft_plan(config: Config, chosen: ChosenPrompts) -> tuple[Plan, PromptTable]:
    """Return a plan without the digests of models, and therefore without an id.

    It serves to estimate the amount of work where the model is not installed.
    """
    return _plan(config, chosen, _settings(config))


def prompts_of(config: Config, models: ResolvedModels) -> ChosenPrompts:
    """Return the prompts that a configuration selects.

    Raises the errors of ``choose_prompts``, and ``ModelError`` if the tokenizers of the model are
    needed but missing.
    """
    if config.prompts.too_long != "drop":
        return choose_prompts(config.prompts, Path(), {})
    index = models.model.index
    limits = index.family.limits(config.model.max_sequence_length)
    # A tokenizer without its text encoder truncates nothing. SD3 may come without T5.
    read = {
        name: limit
        for name, limit in limits.items()
        if name.replace("tokenizer", "text_encoder") in index.classes
    }
    return choose_prompts(config.prompts, index.folder, read)


def plan_of(
    config: Config, models: ResolvedModels, chosen: ChosenPrompts
) -> tuple[Plan, PromptTable]:
    """Return the plan for the chosen prompts, with its id.

    Raises ``ModelError`` and ``EntryPointError``.
    """
    refuse_options(models.model.index.family, _options(config), str(config.model))
    settings = _settings(config)
    _add_digests(settings, models)
    check_networks(config, settings["model"], models.model)
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


def _add_digests(settings: dict[str, Any], models: ResolvedModels) -> None:
    settings["model"] |= model_digests(models.model)
    if any(each.get("timestep_spacing") == "leading" for each in settings["proposers"]):
        settings["model"] |= leading_offset(models.model)
    for section, reward in zip(settings["rewards"], models.rewards, strict=True):
        section["digest"] = reward.digest
