"""The columns of a webdataset shard."""

import json
import math
import mmap
import re
import tarfile
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pipeline.reader.checked import CheckedBytes
from pipeline.reader.columns import IMAGES, NUMBERS, TEXTS, PairColumns, Scores
from pipeline.storage.schema import Noise


def read_tar(content: CheckedBytes, plan_id: str) -> PairColumns:
    """The columns of a mapped tar, all of which is checked. Raises one of ``UNREADABLE``."""
    content.check(0, content.num_bytes)
    mapped = content.mapped
    samples = _members(mapped)
    rows = [json.loads(mapped[start:stop]) for start, stop in (s["json"] for s in samples)]
    has_source = "source_noise.npy" in samples[0]
    return PairColumns(
        plan_id=plan_id,
        content=content,
        texts={name: [row[name] for row in rows] for name in TEXTS},
        seeds=np.array([row["seed"] for row in rows], np.int64),
        source_noise=_noise(mapped, samples, "source_noise.npy") if has_source else None,
        golden_noise=_noise(mapped, samples, "golden_noise.npy"),
        numbers={name: _numbers([row[name] for row in rows]) for name in NUMBERS},
        images={
            name: _image(mapped, samples, name)
            for name in IMAGES
            if any(extension.startswith(f"{name}.") for extension in samples[0])
        },
    )


_Members = dict[str, tuple[int, int]]
"""Of one sample: where each file's bytes start and stop, by extension."""


def _members(mapped: mmap.mmap) -> list[_Members]:
    samples: dict[str, _Members] = {}
    with tarfile.open(fileobj=mapped, mode="r:") as tar:
        for member in tar:
            sample_id, _, extension = member.name.partition(".")
            place = (member.offset_data, member.offset_data + member.size)
            samples.setdefault(sample_id, {})[extension] = place
    return list(samples.values())


def _noise(mapped: mmap.mmap, samples: Sequence[_Members], name: str) -> Callable[[int], Noise]:
    noises: list[Noise] = []
    for members in samples:
        start, stop = members[name]
        header = _NPY.match(mapped, start, stop)
        if header is None:
            raise ValueError(f"{name} holds no float16 values in rows")
        count = math.prod(int(size) for size in re.findall(rb"\d+", header[1]))
        noises.append(np.frombuffer(mapped, np.float16, count, header.end()))
    return noises.__getitem__


_NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f2', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)
"""What stands before the values. numpy compiles it as Python, which two threads at a time
were seen to break ("AST constructor recursion depth mismatch", CPython 3.11)."""


def _numbers(rows: Sequence[Mapping[str, float | None]]) -> Scores:
    return {
        name: np.array([math.nan if row[name] is None else row[name] for row in rows], np.float32)
        for name in rows[0]
    }


def _image(mapped: mmap.mmap, samples: Sequence[_Members], name: str) -> Callable[[int], bytes]:
    def image(row: int) -> bytes:
        members = samples[row]
        extension = next(each for each in members if each.startswith(f"{name}."))
        start, stop = members[extension]
        return mapped[start:stop]

    return image
