"""Custom rewards: the example of docs/judges.md as it is written there, and typical mistakes."""

import re
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config.rewards import RewardConfig
from pipeline.core.errors import EntryPointError
from pipeline.models.load import load_rewards
from pipeline.models.resolved_models import resolve_reward
from pipeline.models.reward import Reward
from tests.models.rewards.reference.subjects import PROMPTS, images

PAGE = Path(__file__).parents[3] / "docs" / "judges.md"
CPU = torch.device("cpu")

REWARDS = """
import torch


class Folder:
    def __init__(self, device, path):
        self.files = sorted(file.name for file in path.iterdir())

    def score(self, prompts, images):
        return torch.full((len(prompts),), len(self.files), dtype=torch.float64)


class Matrix:
    def __init__(self, device):
        pass

    def score(self, prompts, images):
        return torch.zeros(len(prompts), 1)


class Silent:
    def __init__(self, device):
        pass
"""


def _block(language: str, containing: str) -> str:
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (block,) = (block for block in blocks if containing in block)
    return str(block)


def _load(values: Mapping[str, Any]) -> Reward:
    (reward,) = load_rewards([resolve_reward(RewardConfig.model_validate(values))], CPU).values()
    return reward


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the code of custom rewards, whose modules are unloaded afterwards."""
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "rewards_of_tests.py").write_text(REWARDS)
    for name in ("rewards_of_tests", "brightness"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_custom_example_of_the_page_runs_as_written(modules: Path) -> None:
    (modules / "brightness.py").write_text(_block("python", "class Brightness"))
    values = tomllib.loads(_block("toml", "brightness:Brightness"))["rewards"][0]
    assert values.pop("code") == "."  # of the folder with the configuration
    pictures = torch.from_numpy(images())
    scores = _load({**values, "code": str(modules)}).score(PROMPTS, pictures)
    means = [float(picture.double().mean()) / 255 for picture in pictures]
    expected = torch.tensor([-abs(mean - 0.7) for mean in means])
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)


def _custom(name: str, modules: Path, **values: Any) -> dict[str, Any]:
    entry = f"rewards_of_tests:{name}"
    return {"name": "own", "kind": "custom", "entry": entry, "code": str(modules), **values}


def test_custom_reward_receives_its_folder_and_returns_float32(modules: Path) -> None:
    reward = _load(_custom("Folder", modules, path=str(modules)))
    scores = reward.score(["a", "b"], torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
    assert scores.dtype == torch.float32 and scores.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("Absent", {}, "Absent"),
        ("Silent", {}, "has no method score"),
        ("Matrix", {"tone": 1}, "tone"),
        ("Folder", {}, "path"),
    ],
)
def test_custom_reward_that_cannot_be_created_reports_the_reason(
    name: str, options: dict[str, int], message: str, modules: Path
) -> None:
    with pytest.raises(EntryPointError, match=message):
        _load(_custom(name, modules, options=options))


def test_custom_reward_with_another_number_of_scores_is_rejected(modules: Path) -> None:
    reward = _load(_custom("Matrix", modules))
    with pytest.raises(EntryPointError, match=r"returned \(2, 1\) for 2 images; it must return"):
        reward.score(["a", "b"], torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
