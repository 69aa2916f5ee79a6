"""Networks with a known result, and small trials with the demo's models."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from pipeline.config.file import BUNDLED
from pipeline.config.proposers import RedenoiseSettings
from pipeline.config.sections import Config, SamplingConfig
from pipeline.diffusion.denoiser import Denoiser, EncodedPrompts
from pipeline.evaluate.trial.run import TrialRun, prepare
from pipeline.evaluate.trial.settings import EvaluatedNetwork, Setup, TrialSettings
from pipeline.stages.propose import ProposedNoise, Proposer, Source
from pipeline.stages.proposers import Redenoise
from tests.sealed import changed, write_config

CONFIG = changed(redenoise={"num_inference_steps": 4, "num_steps": 2})
SETTINGS = TrialSettings(
    sampling=SamplingConfig(num_inference_steps=3, guidance_scale=1.0),
    seeds_per_prompt=2,
    seed=11,
    batch_size=4,
    guidance=(5.5,),
    plain_guidance=(2.0,),
    limit_guidance=3,
    limit_controls=None,
)


@dataclass(frozen=True)
class Unchanged:
    """Network that returns the noise unchanged."""

    name: str = "unchanged"
    digest: str = "u"
    proposals: int = 1
    evaluations: int = 0

    def load(self, device: torch.device) -> Proposer:
        return self

    def propose(
        self, denoiser: Denoiser, prompts: EncodedPrompts, source: Source
    ) -> Sequence[ProposedNoise]:
        return [ProposedNoise.alike(source.noise, forward_evaluations=0)]


@dataclass(frozen=True)
class Regenerated:
    """Network that makes exactly golden noise."""

    redenoise: RedenoiseSettings
    name: str = "perfect"
    digest: str = "p"

    def load(self, device: torch.device) -> Proposer:
        return Redenoise(settings=self.redenoise, guidance="classifier_free")


def held_out(count: int) -> list[str]:
    """Return the first held-out prompts of the demo."""
    return (BUNDLED / "held_out.txt").read_text("utf-8").splitlines()[:count]


def small_trial(
    folder: Path,
    networks: Sequence[EvaluatedNetwork] | None = None,
    settings: TrialSettings = SETTINGS,
    prompts: int = 6,
) -> TrialRun:
    """Prepare a trial, by default of a perfect network and one that changes nothing."""
    config = trial_config(folder)
    if networks is None:
        assert config.redenoise is not None
        networks = (Regenerated(config.redenoise), Unchanged())
    setup = Setup(config, tuple(networks), settings)
    return prepare(setup, held_out(prompts), {}, None, folder / "trial")


def trial_config(folder: Path) -> Config:
    return write_config(folder, CONFIG)
