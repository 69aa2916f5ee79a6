"""Tests of each arm on the demo's models: its noise, its choice and its cost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.diffusion.denoiser import Conditioning
from pipeline.diffusion.noise import source_noise, stored
from pipeline.evaluate.trial.arm_runner import ArmResult, ArmRunner, SampleBatch
from pipeline.evaluate.trial.arm_specs import (
    GOLDEN,
    STANDARD,
    STANDARD_FOR_WRONG_PROMPT,
    ArmSpec,
)
from pipeline.evaluate.trial.arms import perturbed_like
from pipeline.stages.propose import Source
from pipeline.stages.proposers import Redenoise
from tests.evaluate.trial.networks import SETTINGS, Unchanged, small_trial, trial_config
from tests.sealed import demo_models


class CountingDenoiser:
    """The demo's denoiser with a count of the latents that its network receives."""

    def __init__(self) -> None:
        self.count = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(demo_models()[0], name)

    def predict(self, latents: Tensor, timestep: float, conditioning: Conditioning) -> Tensor:
        self.count += len(latents)
        return demo_models()[0].predict(latents, timestep, conditioning)


class Drawings:
    """Results of all arms for one batch of four prompts, with their counted evaluations."""

    def __init__(self, folder: Path) -> None:
        run = small_trial(folder, [Unchanged()], prompts=4)
        self.samples = [sample for chunk in run.chunks for sample in chunk][::2]
        self.specs: dict[str, ArmSpec] = {spec.name: spec for spec in run.setup.arm_specs()}
        config, denoiser = trial_config(folder), CountingDenoiser()
        assert config.redenoise is not None
        redenoise = Redenoise(settings=config.redenoise, guidance=config.model.guidance)
        self.runner = ArmRunner(
            denoiser=denoiser,
            rewards=demo_models()[1],
            selecting="scene",
            # The network is golden noise too, so that its noise depends on the prompt.
            proposers={GOLDEN: redenoise, "unchanged": redenoise},
            sampling=SETTINGS.sampling,
        )
        self.batch: SampleBatch = self.runner.batch(self.samples)
        self.drawn: dict[str, ArmResult] = {}
        self.counted: dict[str, float] = {}
        with torch.inference_mode():
            for name, spec in self.specs.items():
                before = denoiser.count
                self.drawn[name] = spec.arm.draw(self.runner, self.batch, self.drawn)
                self.counted[name] = (denoiser.count - before) / len(self.samples)


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drawings]:
    yield Drawings(tmp_path_factory.mktemp("arms"))


def test_source_noises_are_those_of_the_seeds_as_they_would_be_stored(drawings: Drawings) -> None:
    for row, sample in enumerate(drawings.samples):
        for index, seed in enumerate(sample.seeds):
            expected = stored(source_noise(seed, (4, 8, 8)))
            assert torch.equal(drawings.batch.noises[index][row], expected)
    assert torch.equal(drawings.drawn[STANDARD].noise, drawings.batch.noises[0])
    assert torch.equal(drawings.drawn["second seed"].noise, drawings.batch.noises[1])


@pytest.mark.parametrize(
    ("arm", "built_on"),
    [
        (STANDARD, []),
        (GOLDEN, []),
        ("unchanged", []),
        ("unchanged, twice", ["unchanged"]),
        ("wrong prompt: unchanged", []),
        ("random perturbation: unchanged", []),
        ("guidance 2, 1 steps", []),
        ("guidance 2, 3 steps", []),
        ("best of 2 seeds", [STANDARD, "second seed"]),
    ],
)
def test_cost_is_the_counted_evaluations(drawings: Drawings, arm: str, built_on: list[str]) -> None:
    expected = drawings.counted[arm] + sum(drawings.counted[name] for name in built_on)
    if arm == "unchanged, twice":
        expected -= SETTINGS.sampling.num_inference_steps  # the image of the first application
    assert drawings.drawn[arm].cost.evaluations == pytest.approx(expected)
    assert drawings.drawn[arm].cost.seconds > 0


def test_a_network_counts_as_one_evaluation(drawings: Drawings) -> None:
    noise, network = drawings.batch.noises[0], Unchanged()
    runner = ArmRunner(**{**vars(drawings.runner), "proposers": {"unchanged": network}})
    drawn = drawings.specs["unchanged"].arm.draw(runner, drawings.batch, {})
    assert drawn.cost.evaluations == 1 + SETTINGS.sampling.num_inference_steps
    assert torch.equal(drawn.noise, noise)


def test_wrong_prompt_noise_is_that_of_the_other_prompt(drawings: Drawings) -> None:
    denoiser = drawings.runner.denoiser
    others = denoiser.encode_prompts([sample.wrong_prompt for sample in drawings.samples])
    with torch.inference_mode():
        (proposed,) = drawings.runner.proposers[GOLDEN].propose(
            denoiser, others, Source(noise=drawings.batch.noises[0].float())
        )
    wrong = drawings.drawn["wrong prompt: unchanged"]
    torch.testing.assert_close(wrong.noise, stored(proposed.golden_noise), atol=2e-3, rtol=2e-3)
    assert not torch.equal(wrong.noise, drawings.drawn[GOLDEN].noise)


def test_images_are_judged_by_the_wrong_prompt(drawings: Drawings) -> None:
    others = [sample.wrong_prompt for sample in drawings.samples]
    for name, arm in (
        (STANDARD, STANDARD_FOR_WRONG_PROMPT),
        ("wrong prompt: unchanged", "wrong prompt: unchanged, judged by it"),
    ):
        images, judged = drawings.drawn[name], drawings.drawn[arm]
        assert torch.equal(judged.images.pixels, images.images.pixels)
        for reward, model in drawings.runner.rewards.items():
            expected = model.score(others, images.images.pixels).tolist()
            assert judged.scores[reward] == pytest.approx(expected, abs=1e-5)
            assert judged.scores[reward] != images.scores[reward]


def test_best_of_two_is_the_better_one_under_the_selecting_reward(drawings: Drawings) -> None:
    first, second = drawings.drawn[STANDARD], drawings.drawn["second seed"]
    best = drawings.drawn["best of 2 seeds"]
    for row in range(len(drawings.samples)):
        one, other = first.scores["scene"][row], second.scores["scene"][row]
        assert one is not None and other is not None
        winner = first if one >= other else second
        assert best.scores["scene"][row] == max(one, other)
        assert best.scores["oracle"][row] == winner.scores["oracle"][row]
        assert torch.equal(best.images.pixels[row], winner.images.pixels[row])
        assert torch.equal(best.noise[row], winner.noise[row])


def test_random_perturbation_is_as_large_as_the_others_and_points_elsewhere() -> None:
    rng = torch.Generator().manual_seed(0)
    source, random, other = (torch.randn(5, 4, 32, 32, generator=rng) for _ in range(3))
    golden = 0.9 * source + 0.3 * other
    x, y, z = (
        n.flatten(1).double() for n in (source, golden, perturbed_like(source, golden, random))
    )
    for function in (
        lambda n: n.norm(dim=1),
        lambda n: (n - x).norm(dim=1),
        lambda n: (n * x).sum(1),
    ):
        torch.testing.assert_close(function(z), function(y), rtol=1e-4, atol=1e-4)
    cosine = torch.cosine_similarity(y - 0.9 * x, z - 0.9 * x)
    assert cosine.abs().max() < 0.1, "4,096 values: the standard deviation is 0.016"


def test_guidance_changes_the_image_and_not_the_noise(drawings: Drawings) -> None:
    guided = drawings.drawn["guidance 5.5, 3 steps"]
    on_top = drawings.drawn["unchanged at guidance 5.5, 3 steps"]
    assert torch.equal(guided.noise, drawings.drawn[STANDARD].noise)
    assert torch.equal(on_top.noise, drawings.drawn["unchanged"].noise)
    assert not np.array_equal(guided.images.pixels, drawings.drawn[STANDARD].images.pixels)
