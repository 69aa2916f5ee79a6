"""Networks for every shape of latents: trained on real pairs, resumed, and used as proposers."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from pipeline.config.proposers import NPNetConfig
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.load import load_network
from pipeline.models.model_identity import identity_of
from pipeline.npnet import NPNet
from pipeline.reader import Source
from pipeline.stages import propose
from pipeline.stages.proposers import NetworkProposer
from pipeline.training.data import EveryPair
from pipeline.training.fit import variance_explained
from pipeline.training.run import NewNetwork, train
from pipeline.training.settings import TrainingSettings
from tests.models.diffusers.families.tiny_pipelines import build, options_of
from tests.training.tiny_sets import TinySet, tiny_set

SETTINGS = TrainingSettings(
    steps=12, batch_size=4, learning_rate=2e-3, warmup_steps=2, ema_decay=0.5
)
# The demo's reward looks at images of 32 × 32 pixels.
_OPTIONS = {name: {**options_of(name), "height": 32, "width": 32} for name in ("flux", "wan")}


@pytest.fixture(scope="module", params=["flux", "wan"])
def pairs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TinySet:
    name = request.param
    return tiny_set(tmp_path_factory.mktemp(name), build(name), **_OPTIONS[name])


def _train(
    pairs: TinySet,
    kind: Any,
    out: Path,
    accelerator: Accelerator,
    report: Callable[[int, float], None] = lambda step, loss: None,
) -> Mapping[str, Any]:
    return train(
        Source(pairs.url),
        pairs.encode,
        identity_of(resolve_model(pairs.config.model)),
        NewNetwork(kind=kind, width=16),
        SETTINGS,
        out,
        accelerator,
        checkpoint_every=4,
        report=report,
    )


class _KilledError(Exception):
    pass


def _kill(step: int, loss: float) -> None:
    if step == 8:
        raise _KilledError


@pytest.mark.parametrize("kind", ["small", "two_branch"])
def test_network_learns_the_pairs_and_resumes_bit_for_bit(
    pairs: TinySet, kind: str, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(pairs, kind, tmp_path / "undisturbed", accelerator)
    with pytest.raises(_KilledError):
        _train(pairs, kind, tmp_path / "killed", accelerator, _kill)
    _train(pairs, kind, tmp_path / "killed", accelerator)
    for name in ("model.safetensors", "config.json", "loss.jsonl"):
        expected, killed = (tmp_path / run / name for run in ("undisturbed", "killed"))
        assert killed.read_bytes() == expected.read_bytes()

    every = EveryPair(Source(pairs.url), "train", 4)
    assert variance_explained(NPNet.load(tmp_path / "undisturbed"), every, pairs.encode) > 0.02

    proposed = _propose(pairs, tmp_path / "undisturbed")
    batch = next(iter(every))
    assert proposed.shape == batch.source_noise.shape
    closer = (proposed - batch.golden_noise).norm() < (
        batch.source_noise - batch.golden_noise
    ).norm()
    assert closer


def _propose(pairs: TinySet, folder: Path) -> torch.Tensor:
    """Return the proposal of a build's network for the first pairs."""
    network = load_network(NPNetConfig(path=str(folder)), pairs.denoiser, pairs.config.model)
    batch = next(iter(EveryPair(Source(pairs.url), "train", 4)))
    prompts = pairs.denoiser.encode_prompts(batch.prompts)
    proposer = NetworkProposer(network=network, rounds=1)
    source = propose.Source(noise=batch.source_noise)
    (proposed,) = proposer.propose(pairs.denoiser, prompts, source)
    return proposed.golden_noise
