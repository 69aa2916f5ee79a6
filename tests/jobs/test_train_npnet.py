"""``python -m jobs.train_npnet`` in real processes: killed and resumed, and two in parallel."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.state import AcceleratorState
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jobs.train_npnet import job
from pipeline.config.file import BUNDLED
from pipeline.core.errors import UserError
from tests.sealed import built, sealed_folder
from tests.waiting import until

__all__ = ["built", "sealed_folder"]

DEADLINE_S = 300
MODEL = BUNDLED / "model"


def _options(data: Path, out: Path, **options: Any) -> dict[str, Any]:
    return {"data": str(data), "model": MODEL, "out": out, "width": 16, "batch_size": 8, **options}


def _command(options: dict[str, Any], *launcher: str) -> list[str]:
    named = (f"--{name.replace('_', '-')}={value}" for name, value in options.items())
    return [sys.executable, *launcher, "-m", "jobs.train_npnet", *named]


@pytest.fixture(autouse=True)
def _reset_accelerator() -> Iterator[None]:
    yield
    # accelerate keeps one state per process, and the next test may need another one.
    AcceleratorState._reset_state(reset_partial_state=True)


def _kill_after_first_checkpoint(command: list[str], out: Path) -> None:
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        checkpoint = out / "checkpoint.pt"
        assert until(
            lambda: checkpoint.exists() or process.poll() is not None,
            DEADLINE_S,
            poll_s=0.002,  # a step takes longer
        )
        assert process.poll() is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)


def _saved_step(out: Path) -> int:
    stored = torch.load(out / "checkpoint.pt", weights_only=True)
    return int(stored["state"]["schedule"]["last_epoch"])


def _points(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]


def test_train_killed_and_run_again_ends_in_the_same_bytes(
    sealed_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    undisturbed = _options(
        sealed_folder, tmp_path / "undisturbed", steps=120, checkpoint_every=7, dropout=0.1
    )
    job(**undisturbed)
    killed = undisturbed | {"out": tmp_path / "killed"}
    _kill_after_first_checkpoint(_command(killed), killed["out"])
    assert not (killed["out"] / "training.json").exists()
    step = _saved_step(killed["out"])
    assert 0 < step < 120

    capsys.readouterr()
    job(**killed)
    printed = capsys.readouterr().err
    assert "step 120 of 120" in printed and f"step {step} of 120" not in printed
    for name in ("model.safetensors", "config.json", "loss.jsonl"):
        assert (killed["out"] / name).read_bytes() == (undisturbed["out"] / name).read_bytes()


def test_train_in_two_processes_learns_as_one_does(sealed_folder: Path, tmp_path: Path) -> None:
    alone = _options(sealed_folder, tmp_path / "alone", steps=20, checkpoint_every=10)
    job(**alone)
    together = alone | {"out": tmp_path / "together"}
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    done = subprocess.run(
        _command(together, *launcher),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("step 20 of 20") == 1, "only the main process prints"
    assert json.loads((together["out"] / "training.json").read_text())["processes"] == 2
    for point, expected in zip(_points(together["out"]), _points(alone["out"]), strict=True):
        assert point == pytest.approx(expected, rel=1e-3)

    # One process resumes the checkpoint of two.
    weights = together["out"] / "model.safetensors"
    written = weights.read_bytes()
    (together["out"] / "training.json").unlink()
    job(**together)
    assert weights.read_bytes() == written


def test_train_tracker_logs_the_curve(sealed_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    options = _options(sealed_folder, tmp_path, steps=4, checkpoint_every=2)
    job(**options, tracker="tensorboard", log_format="json", log_file=log)
    messages = [json.loads(line)["message"] for line in log.read_text("utf-8").splitlines()]
    assert messages[-2].startswith("step 4 of 4: loss ") and "parameters" in messages[-1]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    for name in ("loss", "learning_rate", "variance_explained"):
        logged = {event.step: event.value for event in events.Scalars(name)}
        assert logged == pytest.approx({point["step"]: point[name] for point in _points(tmp_path)})


def test_train_tracker_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.train_npnet.is_tensorboard_available", lambda: False)
    with pytest.raises(UserError, match=r"pip install 'noise-prompt-dataset\[tensorboard\]'"):
        job(**_options(tmp_path, tmp_path / "out", tracker="tensorboard"))


def test_train_takes_version_and_unsigned(sealed_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no version 7"):
        job(**_options(sealed_folder, tmp_path / "out", version=7))
    with pytest.raises(UserError, match="unsigned is for s3:// URLs"):
        job(**_options(sealed_folder, tmp_path / "out", unsigned=True))


def test_train_half_precision_on_the_cpu_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="fp16 needs a GPU; on the CPU use fp32"):
        job(**_options(tmp_path, tmp_path / "out", precision="fp16"))


@pytest.mark.parametrize("option", ["scene", "scene=", "scene=much"])
def test_train_gain_without_a_number_is_rejected(tmp_path: Path, option: str) -> None:
    with pytest.raises(UserError, match=r"write REWARD=GAIN, such as scene=0\.0"):
        job(**_options(tmp_path, tmp_path / "out", min_gain=[option]))
