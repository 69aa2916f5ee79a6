"""Scores of every published reward against those of its authors' code, alone and in a batch."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.config.rewards import RewardConfig
from pipeline.models.load import load_rewards
from pipeline.models.resolved_models import resolve_reward
from pipeline.models.reward import Reward
from pipeline.stages.sample import SampledImages
from pipeline.stages.score import score_images
from tests.models.rewards.recorded import scores
from tests.models.rewards.reference.subjects import PROMPTS, images
from tests.stages.test_guests import GuestJudge

CPU = torch.device("cpu")
KINDS = ("image_reward", "hps_v2", "pick_score", "clip_score", "aesthetic")


@pytest.fixture(scope="module")
def rewards(published: Mapping[str, Path]) -> dict[str, Reward]:
    configs = [
        RewardConfig.model_validate({"name": kind, "kind": kind, "path": str(folder)})
        for kind, folder in published.items()
    ]
    return load_rewards(map(resolve_reward, configs), CPU)


def expected(kind: str) -> Tensor:
    """Return the recorded scores; CLIPScore is 2.5 · max(cos, 0) of the recorded cosine."""
    return 2.5 * scores("clip_cosine").clamp(min=0) if kind == "clip_score" else scores(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_score_of_a_batch_is_that_of_the_reference(kind: str, rewards: dict[str, Reward]) -> None:
    found = rewards[kind].score(PROMPTS, torch.from_numpy(images()))
    assert found.dtype == torch.float32 and found.shape == (8,) and not found.requires_grad
    assert expected(kind).std() > 1e-3, "the subjects tell good from bad"
    torch.testing.assert_close(found, expected(kind), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_score_of_one_is_that_of_the_reference(kind: str, rewards: dict[str, Reward]) -> None:
    pictures = torch.from_numpy(images())
    each = zip(PROMPTS, pictures, strict=True)
    found = torch.cat([rewards[kind].score([prompt], picture[None]) for prompt, picture in each])
    torch.testing.assert_close(found, expected(kind), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_score_is_computed_in_float32_and_not_in_tf32(
    kind: str, rewards: dict[str, Reward], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The convolution that reads the image; on a GPU torch would take TF32."""
    allowed = []
    convolve = torch.nn.Conv2d.forward

    def traced(layer: torch.nn.Conv2d, pixels: Tensor) -> Tensor:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return convolve(layer, pixels)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", traced)
    before = torch.backends.cudnn.allow_tf32
    rewards[kind].score(PROMPTS[:1], torch.from_numpy(images())[:1])
    assert allowed == [False]
    assert torch.backends.cudnn.allow_tf32 == before


@pytest.mark.parametrize("first", [True, False])
def test_score_beside_a_judge_that_overwrites_its_images_is_the_same(
    first: bool, rewards: dict[str, Reward]
) -> None:
    guest: dict[str, Reward] = {"guest": GuestJudge(hostile=True)}
    batch = SampledImages(pixels=torch.from_numpy(images()), finite=(True,) * len(PROMPTS))
    before = batch.pixels.clone()
    found = score_images({**guest, **rewards} if first else {**rewards, **guest}, PROMPTS, batch)
    assert torch.equal(batch.pixels, before)
    for kind in KINDS:
        torch.testing.assert_close(torch.tensor(found[kind]), expected(kind), rtol=0, atol=1e-5)
