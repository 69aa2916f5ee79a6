"""Creation of a plan from a configuration."""

from pathlib import Path

from pipeline.config.plan import (
    Plan,
    PlannedJudging,
    PlannedPrompts,
    PlannedReward,
    PlanSettings,
)
from pipeline.config.rewards import RewardSettings
from pipeline.config.sections import Config
from pipeline.core.errors import UserError
from pipeline.core.fingerprint import ALGORITHM_VERSION
from pipeline.core.records import NEWEST_SCHEMA_VERSION, SCHEMA_VERSION
from pipeline.models.diffusers.call_options import OPTIONS, refuse_options
from pipeline.models.model_identity import model_settings, with_digests, with_leading_offset
from pipeline.models.resolved_models import ResolvedModels
from pipeline.prompts.choosing import ChosenPrompts, choose_prompts
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.proposer_files import check_networks, proposer_settings
from pipeline.storage.formats.prompts import PromptTable


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
    settings = _with_digests(_settings(config), models)
    check_networks(config, settings.model, models.model)
    plan, table = _plan(config, chosen, settings)
    return plan.model_copy(update={"plan_id": plan.identity()}), table


def _options(config: Config) -> list[str]:
    """Return the names of the family-specific options that are set."""
    given = {**dict(config.model), "guidance_rescale": config.sampling.guidance_rescale or None}
    return [name for name in OPTIONS if given[name] is not None]


def _plan(
    config: Config, chosen: ChosenPrompts, settings: PlanSettings
) -> tuple[Plan, PromptTable]:
    table = PromptTable.of(chosen.prompts, config.splits.fractions())
    num_candidates = len(chosen.prompts) * config.prompts.seeds_per_prompt
    judges_all = config.judging.policy == "all"
    plan = Plan(
        schema_version=SCHEMA_VERSION if judges_all else NEWEST_SCHEMA_VERSION,
        algorithm_version=ALGORITHM_VERSION,
        plan_id="",
        settings=settings,
        prompts_sha256=table.sha256(),
        num_prompts=len(chosen.prompts),
        prompt_funnel=chosen.funnel,
        num_candidates=num_candidates,
        num_units=-(-num_candidates // config.units.size),
    )
    if not plan.judges_all and (proposals := BuildSpec.of(plan).proposals) != 1:
        raise UserError(
            f'[judging] policy = "sample" needs a single golden noise for each candidate, and '
            f"this plan proposes {proposals}: the best of several is known only if all are judged"
        )
    return plan, table


def _settings(config: Config) -> PlanSettings:
    """Return the settings that affect the result, without the digests of models."""
    # Defaults are stored like set values: a later version may have others, and the plan's id must
    # not depend on how a configuration is written.
    settings = PlanSettings(
        prompts=PlannedPrompts(
            seeds_per_prompt=config.prompts.seeds_per_prompt, seed=config.prompts.seed
        ),
        splits=config.splits.explicit(),
        sampling=config.sampling.explicit(),
        proposers=proposer_settings(config),
        rewards=tuple(
            PlannedReward(**{name: getattr(reward, name) for name in RewardSettings.model_fields})
            for reward in config.rewards
        ),
        selection=config.selection.explicit(),
        gate=config.gate.explicit(),
        units=config.units.explicit(),
        output=config.output.explicit(),
        model=model_settings(config.model),
    )
    # The section is newer than the other settings. Plans that judge every candidate do not store
    # it, so that their ids stay.
    if config.judging.policy == "all":
        return settings
    judging = PlannedJudging(**dict(config.judging))
    return settings.model_copy(update={"judging": judging.explicit()})


def _with_digests(settings: PlanSettings, models: ResolvedModels) -> PlanSettings:
    model = with_digests(settings.model, models.model)
    if any(getattr(each, "timestep_spacing", None) == "leading" for each in settings.proposers):
        model = with_leading_offset(model, models.model)
    rewards = tuple(
        planned.model_copy(update={"digest": reward.digest})
        for planned, reward in zip(settings.rewards, models.rewards, strict=True)
    )
    return settings.model_copy(update={"model": model, "rewards": rewards})
