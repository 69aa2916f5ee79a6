"""Reading with a small ``/dev/shm``, as in containers: an epoch is complete or raises."""

import ctypes
import io
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from multiprocessing.util import get_temp_dir
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from pipeline.reader import NoisePairDataset, NoisePairTable
from tests.reader.reading import ids_of
from tests.reader.rewritten import rewritten
from tests.sealed import Built

_NEW_MOUNTS = 0x0002_0000
_PRIVATE_BELOW = 0x4_4000
_ROOM = b"size=1m"
"""Enough for the semaphores of a DataLoader and for five pictures."""
_PICTURE = (256, 256)
_SECONDS = 40


@pytest.fixture(scope="module")
def pictures(built: Built) -> Iterator[Path]:
    """Return a folder of pairs with large pictures. It is not below ``/dev/shm``."""
    file = io.BytesIO()
    Image.new("RGB", _PICTURE, "teal").save(file, "PNG")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        large = partial(replace, source_image=file.getvalue(), golden_image=file.getvalue())
        rewritten(built, folder, large, shard_bytes=40_000)
        yield Path(folder)


def _with_small_shm(read: Callable[[], list[str]], answer: Any) -> None:
    os.setsid()
    sockets = get_temp_dir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_MOUNTS) or libc.mount(b"none", b"/", None, _PRIVATE_BELOW, None):
        answer.send(os.strerror(ctypes.get_errno()))
        return
    assert not libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, _ROOM)
    # The folder for sockets may be in the old ``/dev/shm``.
    Path(sockets).mkdir(parents=True, exist_ok=True)
    try:
        answer.send(read())
    except RuntimeError as error:
        answer.send(error)


def _read_with_small_shm(read: Callable[[], list[str]]) -> Any:
    """Run ``read`` in a process with a small ``/dev/shm``. Return its result or its error."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_with_small_shm, args=(read, sender))
    process.start()
    try:
        assert receiver.poll(_SECONDS), "the loader hangs"
        answer = receiver.recv()
    finally:
        # End its workers too. One of them may not have started yet.
        assert process.pid is not None
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    if isinstance(answer, str):
        pytest.skip(f"this process may not mount another /dev/shm: {answer}")
    return answer


def _plain(batch: Any) -> Any:
    """Return a batch in the worker's memory, as a user's ``collate_fn`` may."""
    return {"sample_id": batch["sample_id"], "picture": batch["golden_image"].clone()}


def _stacked(samples: Any) -> Any:
    ids = [sample["sample_id"] for sample in samples]
    return {"sample_id": ids, "picture": torch.stack([s["golden_image"] for s in samples])}


@pytest.mark.parametrize("batch_size", [4, None])
def test_batches_of_the_reader_do_not_use_dev_shm(pictures: Path, batch_size: int | None) -> None:
    pairs = NoisePairDataset(str(pictures), batch_size=batch_size)
    loader = DataLoader(pairs, batch_size=None, num_workers=2, prefetch_factor=8)
    assert _read_with_small_shm(lambda: [*ids_of(loader)]) == [*ids_of(pairs)]


@pytest.mark.parametrize("size", [8, 128])
@pytest.mark.parametrize(
    ("kind", "collate"),
    [
        (DataLoader, None),
        (DataLoader, _stacked),
        (DataLoader, _plain),
        (StatefulDataLoader, _plain),
    ],
)
def test_batch_of_a_collate_function_that_does_not_fit_raises(
    pictures: Path, size: int, collate: Any, kind: Any
) -> None:
    by_reader = collate is _plain
    pairs = NoisePairDataset(str(pictures), batch_size=size if by_reader else None)
    loader = kind(pairs, batch_size=None if by_reader else size, num_workers=2, collate_fn=collate)
    error = _read_with_small_shm(lambda: [*ids_of(loader)])
    assert isinstance(error, RuntimeError), f"{len(error)} of {pairs.num_samples} pairs"
    assert "shared memory" in str(error) or "exited unexpectedly" in str(error)


def test_rows_of_a_table_that_do_not_fit_raise(pictures: Path) -> None:
    table = NoisePairTable(str(pictures))
    loader = DataLoader(table, batch_size=8, num_workers=2, collate_fn=_stacked)
    error = _read_with_small_shm(lambda: [*ids_of(loader)])
    assert isinstance(error, RuntimeError) and "exited unexpectedly" in str(error)
