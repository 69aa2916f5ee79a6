"""Settings that change the identity of a model, and those that do not."""

from typing import Any

import pytest

from pipeline.config.file import load_config
from pipeline.config.plan import PlannedModel
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.model_identity import model_settings, planned_identity, with_digests


@pytest.fixture(scope="module")
def planned() -> PlannedModel:
    model = load_config("demo").model
    return with_digests(model_settings(model), resolve_model(model))


def _with(planned: PlannedModel, setting: dict[str, Any]) -> PlannedModel:
    values = planned.model_dump(mode="json", exclude_unset=True) | setting
    return PlannedModel.model_validate(values, extra="allow")


@pytest.mark.parametrize(
    "setting",
    [
        {"name": "another name"},
        {"dtype": "bfloat16"},
        {"negative_prompt": "blurry"},
        {"steps_offset": 0},
        {"scheduler": {"name": "DDIMScheduler", "options": {}}},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_setting_that_leaves_prompt_embeddings_alone_is_of_the_same_model(
    planned: PlannedModel, setting: dict[str, Any]
) -> None:
    assert planned_identity(_with(planned, setting)).digest == planned_identity(planned).digest


@pytest.mark.parametrize(
    "setting",
    [
        {"digest": "another"},
        {"loras": [{"scale": 1.0, "digest": "of a LoRA"}]},
        {"clip_skip": 1},
        {"max_sequence_length": 128},
        {"an_option_of_tomorrow": 1},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_setting_that_changes_prompt_embeddings_makes_another_model(
    planned: PlannedModel, setting: dict[str, Any]
) -> None:
    assert planned_identity(_with(planned, setting)).digest != planned_identity(planned).digest
