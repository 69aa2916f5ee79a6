"""``python -m jobs.train_npnet`` as real processes: killed and resumed, and two at a time."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.config import BUNDLED
from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]

DEADLINE_S = 240
MODEL = str(BUNDLED / "model")


def _arguments(data: Path, out: Path, **options: Any) -> list[str]:
    named = {"data": data, "model": MODEL, "out": out, "width": 16, "batch-size": 8, **options}
    return ["jobs.train_npnet", *(f"--{name}={value}" for name, value in named.items())]


def _run(arguments: list[str], launcher: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *arguments],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _kill_after_first_checkpoint(arguments: list[str], out: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        deadline = time.monotonic() + DEADLINE_S
        while not (out / "checkpoint.pt").exists():
            assert process.poll() is None and time.monotonic() < deadline, "no checkpoint"
            os.sched_yield()
        process.send_signal(signal.SIGKILL)


def _points(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "loss.jsonl").read_text().splitlines()]


def test_train_killed_and_run_again_ends_in_the_same_bytes(
    sealed_folder: Path, tmp_path: Path
) -> None:
    options = {"steps": 120, "checkpoint-every": 7}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    _run(_arguments(sealed_folder, whole, **options))

    again = _arguments(sealed_folder, killed, **options)
    _kill_after_first_checkpoint(again, killed)
    assert not (killed / "training.json").exists()
    step = torch.load(killed / "checkpoint.pt", weights_only=True)["step"]
    assert 0 < step < 120
    output = _run(again)
    assert "step 120 of 120" in output and f"step {step} of 120" not in output

    for name in ("model.safetensors", "config.json", "loss.jsonl"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_train_in_two_processes_learns_as_one_does(sealed_folder: Path, tmp_path: Path) -> None:
    options = {"steps": 20, "checkpoint-every": 10}
    alone, together = tmp_path / "alone", tmp_path / "together"
    _run(_arguments(sealed_folder, alone, **options))
    launcher = ("torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m")
    output = _run(_arguments(sealed_folder, together, **options), launcher)
    assert output.count("step 20 of 20") == 1  # one process speaks
    assert json.loads((together / "training.json").read_text())["processes"] == 2
    expected = _points(alone)
    for point, one in zip(_points(together), expected, strict=True):
        assert point == pytest.approx(one, rel=1e-3)
