"""Placement of a pipeline on a machine without a GPU: rejected options and passed-on errors."""

import pytest
import torch

from pipeline.core.errors import ModelError
from pipeline.models.diffusers.pipelines import place, sequential_faults
from tests.models.diffusers.tiny import tiny_pipeline


def test_offloading_without_a_gpu_is_rejected() -> None:
    with pytest.raises(ModelError, match=r"cpu_offload = 'model' in \[cluster\].*has none"):
        place(tiny_pipeline(), torch.device("cpu"), "model")


def test_failure_of_sequential_offloading_is_a_model_error_and_others_pass() -> None:
    with (
        pytest.raises(ModelError, match=r"tiny: cannot compute with .* take 'model' or 'none'"),
        sequential_faults("tiny", "sequential"),
    ):
        raise RuntimeError("Tensor on device meta is not on the expected device cuda:0!")
    with pytest.raises(RuntimeError, match="another"), sequential_faults("tiny", "model"):
        raise RuntimeError("another")
    with pytest.raises(torch.OutOfMemoryError), sequential_faults("tiny", "sequential"):
        raise torch.OutOfMemoryError("CUDA out of memory")
