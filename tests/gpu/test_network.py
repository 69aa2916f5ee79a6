"""A noise prompt network on a GPU: the noise of the CPU, and training in 16 bits."""

import json
from pathlib import Path

import pytest
import torch
from accelerate.state import AcceleratorState

from jobs.train_npnet import job
from pipeline.config.file import BUNDLED
from pipeline.npnet.config import Layout
from pipeline.training.settings import Precision
from tests.npnet.layouts import LAYOUTS, inputs, name_of, shaken
from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=name_of)
def test_network_gives_the_noise_of_the_cpu(layout: Layout, gpu: torch.device) -> None:
    network = shaken(layout)
    noise, prompt = inputs(layout, 4)
    with torch.inference_mode():
        expected = network(noise, prompt)
        found = network.to(gpu)(noise.to(gpu), prompt.to(gpu))
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_training_in_sixteen_bits_learns(
    precision: Precision, gpu: torch.device, sealed_folder: Path, tmp_path: Path
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)
    job(
        data=str(sealed_folder),
        model=BUNDLED / "model",
        out=tmp_path,
        width=16,
        batch_size=8,
        steps=60,
        checkpoint_every=20,
        precision=precision,
    )
    losses = [json.loads(line)["loss"] for line in (tmp_path / "loss.jsonl").open()]
    assert losses[-1] < losses[0]
