"""A process that dies during a write leaves no file that looks complete."""

import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from jobs.demo_models.data import cached_pictures, render_pictures
from jobs.demo_models.fit import StageSettings, fit
from jobs.demo_models.vae import cached_latents, new_vae
from jobs.train_demo_models import _claim
from pipeline.core.errors import PermanentStoreError, StoreFullError
from pipeline.demo.scene_reward import DualEncoder, SceneReward, vocabulary_size
from pipeline.demo.scenes import WORDS
from pipeline.npnet import NPNet
from pipeline.storage.durable import atomic_write, whole_file, whole_folder
from pipeline.training.checkpoint import save_checkpoint
from pipeline.training.fit import LossCurve
from tests.environments import can_mount, in_fork, mount_memory
from tests.npnet.layouts import SMALL

_LIMIT = 1024
_LARGE = b"x" * 10 * _LIMIT
_SMALL = 4 * _LIMIT
"""Size of a full disk: one page of memory."""


def _write_stage(folder: Path) -> None:
    model = nn.Linear(64, 64)
    schedule = StageSettings(steps=1, batch_size=1, learning_rate=0.1, falling=0.5)
    fit(
        "line",
        model,
        lambda draws, size: model(draws.normal(size, 64)).sum(),
        schedule,
        folder=folder,
        seed=0,
        report=lambda *line: None,
    )


def _write_scene_reward(folder: Path) -> None:
    model = DualEncoder(vocabulary_size(WORDS))
    SceneReward(model, WORDS, torch.device("cpu")).save(folder / "reward")


def _write_checkpoint(folder: Path) -> None:
    save_checkpoint(folder / "checkpoint.pt", {}, {"network": nn.Linear(_LIMIT, 1)})


def _write_curve(folder: Path) -> None:
    points = [{"step": step} for step in range(_LIMIT)]
    LossCurve(folder / "loss.jsonl").load_state_dict({"points": points})


def _write_in_folder(folder: Path) -> None:
    with whole_folder(folder / "made") as unfinished:
        (unfinished / "first").write_bytes(b"small")
        (unfinished / "second").write_bytes(_LARGE)


def _write_file(folder: Path) -> None:
    with whole_file(folder / "made") as unfinished:
        unfinished.write_bytes(_LARGE)


_WRITERS: dict[str, Callable[[Path], object]] = {
    "pool.npz": lambda folder: cached_pictures(4, 0, folder),
    "latents.safetensors": lambda folder: cached_latents(new_vae(), render_pictures(4, 0), folder),
    "line.safetensors": _write_stage,
    "config.json": lambda folder: NPNet.new(SMALL, 0).save(folder),
    "model.safetensors": lambda folder: NPNet.new(SMALL, 0).save(folder),
    "reward/config.json": _write_scene_reward,
    "checkpoint.pt": _write_checkpoint,
    "loss.jsonl": _write_curve,
    "recipe.json": lambda folder: _claim(folder / "recipe.json", _LARGE.decode()),
    "pieces": lambda folder: atomic_write(folder / "pieces", [_LARGE]),
    "made": _write_file,
    "made/first": _write_in_folder,
}
"""Maps a file that must not exist to a function that dies before the file is complete."""


def _killed_in_the_middle(write: Callable[[Path], object], folder: Path) -> bool:
    """Run a function in a forked process that the kernel kills when a file grows too large."""
    if (child := os.fork()) == 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LIMIT, _LIMIT))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        write(folder)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ


@pytest.mark.parametrize("name", _WRITERS)
def test_killed_write_leaves_no_file_under_its_name(name: str, tmp_path: Path) -> None:
    assert _killed_in_the_middle(_WRITERS[name], tmp_path)
    assert not (tmp_path / name).exists()
    _WRITERS[name](tmp_path)
    assert (tmp_path / name).exists()
    assert [path for path in tmp_path.rglob("*") if path.name.endswith(".unfinished")] == []


def _write_to_full_disk(name: str, folder: Path) -> str:
    mount_memory(folder, _SMALL)
    with pytest.raises(StoreFullError) as raised:
        _WRITERS[name](folder)
    assert not (folder / name).exists()
    return str(raised.value)


@pytest.mark.parametrize("name", _WRITERS)
def test_write_to_a_full_disk_names_file_and_room_and_leaves_none(
    name: str, tmp_path: Path
) -> None:
    if not can_mount(tmp_path):
        pytest.skip("this user may not mount a file system, even for one process alone")
    message = in_fork(_write_to_full_disk, name, tmp_path)
    assert str(tmp_path) in message
    assert "No space left on device" in message
    assert f"bytes free in {tmp_path}" in message


def test_whole_folder_replaces_a_folder_and_keeps_it_on_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "made"
    for name in ("old", "new"):
        with whole_folder(folder) as unfinished:
            (unfinished / "below").mkdir()
            (unfinished / "below" / name).write_bytes(b"")
    with pytest.raises(ZeroDivisionError), whole_folder(folder) as unfinished:
        (unfinished / "other").write_bytes(b"")
        raise ZeroDivisionError
    assert [path.relative_to(tmp_path).as_posix() for path in sorted(tmp_path.rglob("*"))] == [
        "made",
        "made/below",
        "made/below/new",
    ]


def test_write_whole_goes_through_links_and_into_devices(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "target")
    (tmp_path / "null").symlink_to("/dev/null")
    atomic_write(tmp_path / "link", [b"data"])
    atomic_write(tmp_path / "null", [b"data"])
    assert (tmp_path / "link").is_symlink() and (tmp_path / "target").read_bytes() == b"data"
    assert Path("/dev/null").is_char_device()


def test_output_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(PermanentStoreError, match=r"file/out.png: .*[Nn]ot a directory"):
        atomic_write(tmp_path / "file" / "out.png", [b"data"])
