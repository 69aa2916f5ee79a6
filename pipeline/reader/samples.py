"""Conversion of shard rows to samples and to batches of tensors."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.diffusion.noise import source_noise, stored
from pipeline.errors import UserError
from pipeline.reader.batch_memory import Layout, shared_empty
from pipeline.reader.columns import IMAGES, PairColumns
from pipeline.reader.pictures import EncodedPictures, decode_picture
from pipeline.storage.schema import Noise

Row = tuple[PairColumns, int]
Sample = dict[str, Any]

TEXTS = ("plan_id", "sample_id", "prompt", "prompt_id")
NOISES = ("source_noise", "golden_noise")
REWARDS = ("source_rewards", "golden_rewards")
COLUMNS = (*TEXTS, "seed", *NOISES, *REWARDS, "noise_stats", *IMAGES)


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """Columns and data types of a sample. Raises ``UserError`` for an unknown column."""

    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    dtype: torch.dtype = torch.float16
    """Data type of the noises."""
    columns: tuple[str, ...] = COLUMNS

    def __post_init__(self) -> None:
        for name in self.columns:
            if name not in COLUMNS:
                raise UserError(f"no column {name!r}; there are {', '.join(COLUMNS)}")
        if not self.dtype.is_floating_point:
            raise UserError(f"noise is read as a floating point type, not {self.dtype}")


def to_sample(row: Row, form: SampleSpec) -> Sample:
    """Return one pair. Its tensors have no batch dimension and are writable copies."""
    columns, index = row
    sample: Sample = {}
    for name in form.columns:
        if name == "plan_id":
            sample[name] = columns.plan_id
        elif name in TEXTS:
            sample[name] = columns.texts[name][index]
        elif name == "seed":
            sample[name] = int(columns.seeds[index])
        elif name in NOISES:
            # Copy in numpy, because torch warns about arrays that are not writable.
            noise = torch.from_numpy(_noise(row, name, form).copy())
            sample[name] = noise.view(form.latent_shape).to(form.dtype)
        elif name in IMAGES:
            if name in columns.images:
                sample[name] = decode_picture(columns.images[name](index))
        else:
            sample[name] = _numbers(row, name, form)
    return sample


def to_batch(rows: Sequence[Row], form: SampleSpec, *, shared: bool) -> Sample:
    """Collate pairs into a batch: texts are lists, other columns are tensors of shape (B, …).

    With ``shared``, noises and pictures are written to shared memory directly. A DataLoader worker
    then sends them without another copy.
    """
    pictures = _pictures(rows, form)
    room = _room(len(rows), form, pictures) if shared else {}
    batch: Sample = {}
    for name in form.columns:
        if name == "plan_id":
            batch[name] = [columns.plan_id for columns, _ in rows]
        elif name in TEXTS:
            batch[name] = [columns.texts[name][index] for columns, index in rows]
        elif name == "seed":
            batch[name] = torch.from_numpy(np.array([c.seeds[i] for c, i in rows], np.int64))
        elif name in NOISES:
            batch[name] = _noises(rows, name, form, room.get(name))
        elif name in pictures:
            shape = pictures[name].shape
            into = room[name] if shared else torch.empty(shape, dtype=torch.uint8)
            batch[name] = pictures[name].decode(into)
        elif name not in IMAGES:
            batch[name] = {
                key: torch.from_numpy(_column(rows, name, key)) for key in _keys(rows, name, form)
            }
    return batch


def _pictures(rows: Sequence[Row], form: SampleSpec) -> dict[str, EncodedPictures]:
    """Return the encoded pictures of each column that is present in all rows."""
    return {
        name: EncodedPictures(name, [columns.images[name](index) for columns, index in rows])
        for name in form.columns
        if name in IMAGES and all(name in columns.images for columns, _ in rows)
    }


def _room(
    num_rows: int, form: SampleSpec, pictures: Mapping[str, EncodedPictures]
) -> dict[str, Tensor]:
    """Return shared memory for each column of noises and pictures."""
    layouts: dict[str, Layout] = {
        name: ((num_rows, *form.latent_shape), form.dtype)
        for name in form.columns
        if name in NOISES
    }
    layouts |= {name: (column.shape, torch.uint8) for name, column in pictures.items()}
    return dict(zip(layouts, shared_empty([*layouts.values()]), strict=True)) if layouts else {}


def _noise(row: Row, name: str, form: SampleSpec) -> Noise:
    """Return a noise as a flat float16 array: stored, or rebuilt from the seed."""
    columns, index = row
    rows = columns.golden_noise if name == "golden_noise" else columns.source_noise
    if rows is not None:
        return rows(index)
    rebuilt = stored(source_noise(int(columns.seeds[index]), form.latent_shape))
    noise: Noise = rebuilt.reshape(-1).numpy()
    return noise


def _noises(rows: Sequence[Row], name: str, form: SampleSpec, room: Tensor | None) -> Tensor:
    """Return the noises of all rows as one tensor, written to ``room`` if given."""
    shape = (len(rows), *form.latent_shape)
    noises = [_noise(row, name, form) for row in rows]
    # Stored noises are float16. Without a conversion they are written to ``room`` in one copy.
    if room is not None and form.dtype is torch.float16:
        np.concatenate(noises, out=room.numpy().reshape(-1))
        return room
    # Allocate with numpy, which requests huge pages. torch does not, and was measured to be 1.5 to
    # 5 times slower here.
    gathered = torch.from_numpy(np.concatenate(noises, out=np.empty(prod(shape), np.float16)))
    gathered = gathered.view(shape)
    return gathered.to(form.dtype) if room is None else room.copy_(gathered)


def _numbers(row: Row, name: str, form: SampleSpec) -> dict[str, float]:
    return {key: float(_column([row], name, key)[0]) for key in _keys([row], name, form)}


def _keys(rows: Sequence[Row], name: str, form: SampleSpec) -> Iterable[str]:
    """Return the keys of a column of numbers.

    Rewards have the keys of all plans, so that samples of several plans can be collated.
    """
    return form.reward_names if name in REWARDS else rows[0][0].numbers[name]


def _column(rows: Sequence[Row], name: str, key: str) -> npt.NDArray[np.float32]:
    """Return one number per row as a float32 array. NaN if the row's plan lacks the number."""
    columns = [(columns.numbers[name].get(key), index) for columns, index in rows]
    return np.array([nan if each is None else each[i] for each, i in columns], np.float32)
