"""Judges on a GPU give the recorded scores of their authors' code, in float32 and not in TF32."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from pipeline.config.rewards import RewardConfig
from pipeline.models.load import load_rewards
from pipeline.models.resolved_models import resolve_reward
from tests.models.rewards.conftest import published
from tests.models.rewards.reference.subjects import PROMPTS, images
from tests.models.rewards.test_scores import KINDS, expected

__all__ = ["published"]

pytestmark = pytest.mark.usefixtures("deterministic")


@pytest.mark.parametrize("kind", KINDS)
def test_score_matches_the_reference(
    kind: str, gpu: torch.device, published: Mapping[str, Path]
) -> None:
    config = RewardConfig.model_validate({"name": kind, "kind": kind, "path": str(published[kind])})
    reward = load_rewards([resolve_reward(config)], gpu)[kind]
    found = reward.score(PROMPTS, torch.from_numpy(images()))
    assert found.device.type == "cpu" and found.dtype == torch.float32
    torch.testing.assert_close(found, expected(kind), rtol=0, atol=1e-5)
