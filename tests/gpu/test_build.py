"""Builds by workers with a GPU, with a part of one, and with a GPU that fails."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cluster.ray_session import ray_session
from pipeline.config.file import load_config
from pipeline.config.sections import ClusterConfig, Config
from pipeline.core.errors import BuildError
from pipeline.core.records import Outcome
from pipeline.storage.open import open_store
from pipeline.storage.receipts import read_receipt
from pipeline.workflows import build as steps
from tests.end_to_end.builds import CONFIG, sealed_bytes, write_config

HERE = Path(__file__).parent
JUDGE = """
[[rewards]]
name = "own"
kind = "custom"
entry = "judges_that_break_gpus:{name}"
code = "{here}"
options = {{ made = "{made}" }}
select = false

[units]"""


@pytest.fixture(scope="module", autouse=True)
def _ray(gpu: torch.device) -> Any:
    with ray_session(ClusterConfig(workers=2)):
        yield


def configured(folder: Path, *, workers: int, gpus: float, judge: str | None = None) -> Config:
    folder.mkdir(exist_ok=True)
    text = CONFIG
    if judge is not None:
        section = JUDGE.format(name=judge, here=HERE, made=folder / "made")
        text = text.replace("[units]", section.strip())
    config = load_config(write_config(folder, text))
    cluster = {"workers": workers, "gpus_per_worker": gpus}
    return config.model_copy(update={"cluster": config.cluster.model_copy(update=cluster)})


def build(folder: Path, config: Config) -> Path:
    opened = steps.open_build(open_store(str(folder / "out")), config)
    list(steps.compute(opened, steps.units_done(opened)))
    steps.publish(opened)
    return folder / "out"


def outcomes(out: Path) -> list[Outcome]:
    store = open_store(str(out))
    (plan,) = (out / "plans").iterdir()
    return [
        outcome for unit in range(12) for outcome in read_receipt(store, plan.name, unit).outcomes
    ]


@pytest.fixture(scope="module")
def on_one_gpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set that one worker built on one GPU."""
    folder = tmp_path_factory.mktemp("one-gpu")
    return build(folder, configured(folder, workers=1, gpus=1))


def test_build_computes_on_the_gpu(on_one_gpu: Path) -> None:
    store = open_store(str(on_one_gpu))
    (plan,) = (on_one_gpu / "plans").iterdir()
    found = read_receipt(store, plan.name, 0).fingerprint
    assert torch.cuda.get_device_name(0) in found.model_dump_json()


def test_build_has_the_scores_of_the_cpu(on_one_gpu: Path, tmp_path: Path) -> None:
    on_cpu = outcomes(build(tmp_path, configured(tmp_path, workers=2, gpus=0)))
    for found, expected in zip(outcomes(on_one_gpu), on_cpu, strict=True):
        assert found.sample_id == expected.sample_id
        assert found.golden_rewards["scene"] == pytest.approx(
            expected.golden_rewards["scene"], abs=1e-3
        )


def test_build_by_two_workers_on_halves_gives_the_same_bytes(
    on_one_gpu: Path, tmp_path: Path
) -> None:
    halves = build(tmp_path, configured(tmp_path, workers=2, gpus=0.5))
    assert sealed_bytes(halves) == sealed_bytes(on_one_gpu)


def test_worker_that_lost_its_gpu_is_replaced(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = configured(tmp_path / "lost", workers=1, gpus=1, judge="ReadsBeyond")
    lost = build(tmp_path / "lost", config)
    assert "device-side assert" in caplog.text
    assert (tmp_path / "lost" / "made").exists()
    again = build(tmp_path / "lost" / "again", config)
    assert sealed_bytes(lost) == sealed_bytes(again)


def test_out_of_memory_stops_the_build_with_advice(tmp_path: Path) -> None:
    config = configured(tmp_path, workers=1, gpus=1, judge="TakesAll")
    once = config.cluster.model_copy(update={"max_attempts": 1})
    config = config.model_copy(update={"cluster": once})
    with pytest.raises(BuildError, match=r"lower \[units\] batch_size"):
        build(tmp_path, config)
