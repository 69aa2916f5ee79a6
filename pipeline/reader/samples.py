"""Conversion of shard rows to samples, to batches of tensors and to preferences."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import nan, prod
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import get_worker_info

from pipeline.core.errors import UserError
from pipeline.diffusion.noise import source_noise, stored
from pipeline.reader.shared_memory import Layout, SharedMemoryBatch, shared_empty
from pipeline.storage.formats.pairs import (
    GOLDEN_REWARDS,
    IMAGES,
    JUDGED,
    NOISES,
    NUMBERS,
    REWARDS,
    SEED,
    SOURCE_REWARDS,
    TEXTS,
    Noise,
    PairColumns,
)
from pipeline.storage.formats.pictures import open_picture, pixels_of

Row = tuple[PairColumns, int]
Sample = dict[str, Any]

PLAN_ID = "plan_id"
SAMPLE_TEXTS = (PLAN_ID, *TEXTS)
COLUMNS = (*SAMPLE_TEXTS, SEED, *NOISES, *NUMBERS, JUDGED, *IMAGES)
_PREFERENCE = ("winner_noise", "loser_noise", "reward_gap")
"""Columns of a preference, which replace ``NOISES`` and ``REWARDS``."""


def decode_picture(encoded: bytes, sample_id: str) -> Tensor:
    """Decode a stored picture to a uint8 tensor of shape (H, W, 3)."""
    return torch.from_numpy(pixels_of(open_picture(encoded, sample_id), sample_id))


class EncodedPictures:
    """Encoded pictures of a batch. Their common ``shape`` is known before they are decoded.

    Raises ``UserError`` for pictures of several sizes.
    """

    def __init__(self, name: str, encoded: Sequence[bytes], sample_ids: Sequence[str]) -> None:
        self._sample_ids = list(sample_ids)
        self._pictures = list(map(open_picture, encoded, sample_ids))
        sizes = {picture.size for picture in self._pictures}
        if len(sizes) > 1:
            found = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
            raise UserError(
                f"a batch cannot hold pictures of several sizes: {name} has {found}; read one plan "
                "(plans=), single samples (batch_size=None), or no pictures (columns=)"
            )
        ((width, height),) = sizes
        self.shape = (len(encoded), height, width, 3)

    def decode(self, room: Tensor) -> Tensor:
        """Decode all pictures into ``room``, a uint8 tensor of shape ``self.shape``."""
        places = room.numpy()
        for place, picture, name in zip(places, self._pictures, self._sample_ids, strict=True):
            place[...] = pixels_of(picture, name)
        return room


@dataclass(frozen=True, kw_only=True)
class SampleSpec:
    """Content of a sample. Raises ``UserError`` for an unknown column."""

    latent_shape: tuple[int, ...]
    reward_names: tuple[str, ...]
    dtype: torch.dtype = torch.float16
    """Data type of the noises."""
    columns: tuple[str, ...] = COLUMNS
    reward: str | None = None
    """Reward by which pairs are returned as preferences. None returns pairs."""

    def __post_init__(self) -> None:
        allowed = COLUMNS if self.reward is None else (*COLUMNS, *_PREFERENCE)
        for name in self.columns:
            if name not in allowed:
                raise UserError(f"no column {name!r}; there are {', '.join(allowed)}")
        if not self.dtype.is_floating_point:
            raise UserError(f"noise is read as a floating point type, not {self.dtype}")

    @property
    def stored_columns(self) -> tuple[str, ...]:
        """Columns to read from a shard. A preference is computed from noises and scores."""
        if self.reward is None:
            return self.columns
        return tuple(name for name in COLUMNS if name in (*self.columns, *NOISES, *REWARDS))


def read_rows(rows: Sequence[Row], spec: SampleSpec, *, batched: bool) -> Sample:
    """Return a batch, or a sample of the first row. DataLoader workers get it ready to be sent."""
    is_worker = get_worker_info() is not None
    sample = to_batch(rows, spec, shared=is_worker) if batched else to_sample(rows[0], spec)
    return SharedMemoryBatch(sample) if is_worker else sample


def to_sample(row: Row, spec: SampleSpec) -> Sample:
    """Return one pair. Its tensors have no batch dimension and are writable copies."""
    columns, index = row
    sample: Sample = {}
    for name in spec.stored_columns:
        if name == PLAN_ID:
            sample[name] = columns.plan_id
        elif name in TEXTS:
            sample[name] = columns.texts[name][index]
        elif name == SEED:
            sample[name] = int(columns.seeds[index])
        elif name == JUDGED:
            sample[name] = _is_judged(row)
        elif name in NOISES:
            # Copy in numpy, because torch warns about arrays that are not writable.
            noise = torch.from_numpy(_noise(row, name, spec).copy())
            sample[name] = noise.view(spec.latent_shape).to(spec.dtype)
        elif name in IMAGES:
            if name in columns.images:
                sample[name] = decode_picture(
                    columns.images[name](index), columns.sample_ids[index]
                )
        else:
            sample[name] = _numbers(row, name, spec)
    return sample if spec.reward is None else _as_preference(sample, spec.reward)


def to_batch(rows: Sequence[Row], spec: SampleSpec, *, shared: bool) -> Sample:
    """Collate pairs into a batch: texts are lists, other columns are tensors of shape (B, …).

    With ``shared``, noises and pictures are written to shared memory directly. A DataLoader worker
    then sends them without another copy.
    """
    pictures = _pictures(rows, spec)
    room = _room(len(rows), spec, pictures) if shared else {}
    batch: Sample = {}
    for name in spec.stored_columns:
        if name == PLAN_ID:
            batch[name] = [columns.plan_id for columns, _ in rows]
        elif name in TEXTS:
            batch[name] = [columns.texts[name][index] for columns, index in rows]
        elif name == SEED:
            batch[name] = torch.from_numpy(np.array([c.seeds[i] for c, i in rows], np.int64))
        elif name == JUDGED:
            batch[name] = torch.tensor([_is_judged(row) for row in rows])
        elif name in NOISES:
            batch[name] = _noises(rows, name, spec, room.get(name))
        elif name in pictures:
            shape = pictures[name].shape
            into = room[name] if shared else torch.empty(shape, dtype=torch.uint8)
            batch[name] = pictures[name].decode(into)
        elif name not in IMAGES:
            batch[name] = {
                key: torch.from_numpy(_column(rows, name, key)) for key in _keys(rows, name, spec)
            }
    return batch if spec.reward is None else _as_preference(batch, spec.reward)


def _is_judged(row: Row) -> bool:
    columns, index = row
    return columns.judged is None or bool(columns.judged[index])


def _pictures(rows: Sequence[Row], spec: SampleSpec) -> dict[str, EncodedPictures]:
    """Return the encoded pictures of each column that is present in all rows."""
    return {
        name: EncodedPictures(
            name,
            [columns.images[name](index) for columns, index in rows],
            [columns.sample_ids[index] for columns, index in rows],
        )
        for name in spec.stored_columns
        if name in IMAGES and all(name in columns.images for columns, _ in rows)
    }


def _room(
    num_rows: int, spec: SampleSpec, pictures: Mapping[str, EncodedPictures]
) -> dict[str, Tensor]:
    """Return shared memory for each column of noises and pictures."""
    layouts: dict[str, Layout] = {
        name: ((num_rows, *spec.latent_shape), spec.dtype)
        for name in spec.stored_columns
        if name in NOISES
    }
    layouts |= {name: (column.shape, torch.uint8) for name, column in pictures.items()}
    return dict(zip(layouts, shared_empty([*layouts.values()]), strict=True)) if layouts else {}


def _noise(row: Row, name: str, spec: SampleSpec) -> Noise:
    """Return a noise as a flat float16 array: stored, or rebuilt from the seed."""
    columns, index = row
    rows = columns.noises.get(name)
    if rows is not None:
        return rows(index)
    rebuilt = stored(source_noise(int(columns.seeds[index]), spec.latent_shape))
    noise: Noise = rebuilt.reshape(-1).numpy()
    return noise


def _noises(rows: Sequence[Row], name: str, spec: SampleSpec, room: Tensor | None) -> Tensor:
    """Return the noises of all rows as one tensor, written to ``room`` if given."""
    shape = (len(rows), *spec.latent_shape)
    noises = [_noise(row, name, spec) for row in rows]
    # Stored noises are float16. Without a conversion they are written to ``room`` in one copy.
    if room is not None and spec.dtype is torch.float16:
        np.concatenate(noises, out=room.numpy().reshape(-1))
        return room
    # Allocate with numpy, which requests huge pages. torch does not, and was measured to be 1.5 to
    # 5 times slower here.
    gathered = torch.from_numpy(np.concatenate(noises, out=np.empty(prod(shape), np.float16)))
    gathered = gathered.view(shape)
    return gathered.to(spec.dtype) if room is None else room.copy_(gathered)


def _numbers(row: Row, name: str, spec: SampleSpec) -> dict[str, float]:
    return {key: float(_column([row], name, key)[0]) for key in _keys([row], name, spec)}


def _keys(rows: Sequence[Row], name: str, spec: SampleSpec) -> Iterable[str]:
    """Return the keys of a column of numbers.

    Rewards have the keys of all plans, so that samples of several plans can be collated.
    """
    return spec.reward_names if name in REWARDS else rows[0][0].numbers[name]


def _column(rows: Sequence[Row], name: str, key: str) -> npt.NDArray[np.float32]:
    """Return one number per row as a float32 array. NaN if the row's plan lacks the number."""
    columns = [(columns.numbers[name].get(key), index) for columns, index in rows]
    return np.array([nan if each is None else each[i] for each, i in columns], np.float32)


def _as_preference(sample: Sample, reward: str) -> Sample:
    """Replace noises and scores by ``winner_noise``, ``loser_noise`` and ``reward_gap``.

    The winner is the noise with the higher score under ``reward``. The golden noise wins a tie. The
    gap is never negative. It is a float for a sample and float32 of shape (B,) for a batch.
    """
    source, golden = (sample[name] for name in NOISES)
    gain = sample[GOLDEN_REWARDS][reward] - sample[SOURCE_REWARDS][reward]
    kept = {name: value for name, value in sample.items() if name not in (*NOISES, *REWARDS)}
    if isinstance(gain, Tensor):
        golden_wins = (gain >= 0).view(-1, *[1] * (source.dim() - 1))
        winner = torch.where(golden_wins, golden, source)
        loser = torch.where(golden_wins, source, golden)
    else:
        winner, loser = (golden, source) if gain >= 0 else (source, golden)
    return {**kept, "winner_noise": winner, "loser_noise": loser, "reward_gap": abs(gain)}
