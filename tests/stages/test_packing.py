"""Batches are packed in their order, each while the next one computes, and errors are raised."""

from collections.abc import Iterator
from pathlib import Path
from threading import Event, get_ident
from typing import Literal

import pytest
import torch
from torch import Tensor

from pipeline.stages.packing import Packing, packed
from pipeline.stages.results import Results
from pipeline.stages.sample import encode_image
from pipeline.stages.stage_clock import Stage, StageClock
from pipeline.stages.unit import produce_unit
from tests.sealed import demo_models
from tests.stages.demo_unit import KEEP_ALL, make_unit, stored_pairs

PATIENCE_S = 30


def _results(number: int) -> Results:
    return Results(outcomes={}, pairs={}, forward_evaluations=number)


def test_batch_is_packed_while_the_next_one_computes() -> None:
    computes, is_packed = Event(), Event()
    computing = get_ident()

    def first() -> Results:
        assert get_ident() != computing
        assert computes.wait(PATIENCE_S)
        is_packed.set()
        return _results(1)

    def batches() -> Iterator[Packing]:
        yield first
        computes.set()
        assert is_packed.wait(PATIENCE_S)
        yield lambda: _results(2)

    clock = StageClock(torch.device("cpu"))
    made = [each.forward_evaluations for each in packed(batches(), clock)]
    assert made == [1, 2] and clock.seconds[Stage.PACK] > 0


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_error_of_packing_is_raised(failing: int) -> None:
    def fail() -> Results:
        raise OSError("no room")

    batches = [fail if number == failing else lambda: _results(1) for number in range(3)]
    with pytest.raises(OSError, match="no room"):
        list(packed(iter(batches), StageClock(torch.device("cpu"))))


def test_error_of_computing_ends_the_packing_thread() -> None:
    finished = Event()

    def first() -> Results:
        finished.set()
        return _results(1)

    def batches() -> Iterator[Packing]:
        yield first
        raise RuntimeError("the GPU failed")

    with pytest.raises(RuntimeError, match="the GPU failed"):
        list(packed(batches(), StageClock(torch.device("cpu"))))
    assert finished.is_set()


def test_picture_that_cannot_be_encoded_fails_the_unit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = KEEP_ALL | {
        "output": {"images": "png"},
        "sampling": {"num_inference_steps": 1, "guidance_scale": 1.0},
        "units": {"size": 4, "batch_size": 2},
    }
    spec, candidates = make_unit(tmp_path, settings)
    calls = 0

    def fail_once(pixels: Tensor, image_format: Literal["png", "webp"]) -> bytes:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise OSError("encoder error -2")
        return encode_image(pixels, image_format)

    monkeypatch.setattr("pipeline.stages.results.encode_image", fail_once)
    with pytest.raises(OSError, match="encoder error -2"):
        produce_unit(candidates, *demo_models(), spec)
    again = produce_unit(candidates, *demo_models(), spec)
    assert [pair.sample_id for pair in stored_pairs(again)] == [c.sample_id for c in candidates]
    assert all(pair.source_image != pair.golden_image for pair in stored_pairs(again))
