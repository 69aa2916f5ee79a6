"""Webdataset tar files: ``.npy`` noises, a ``.json`` of the other columns, encoded images.

Members of a sample are adjacent and sorted by name. They have mtime 0 and no owner, so that the
same pairs give the same bytes. Nothing is pickled: ``webdataset`` reads it with ``.decode()``.
"""

import io
import tarfile
from collections.abc import Iterable
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from pipeline.identity import canonical_json
from pipeline.storage.schema import Noise, NoisePair, PairSchema


def write_tar(sink: BinaryIO, batches: Iterable[pa.RecordBatch]) -> None:
    """Write all pairs of some record batches, in their order."""
    write_samples(
        sink, (pair for batch in batches for pair in PairSchema.of(batch.schema).to_pairs(batch))
    )


def write_samples(sink: BinaryIO, pairs: Iterable[NoisePair]) -> None:
    """Write some pairs, in their order."""
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for pair in pairs:
            for name, data in sorted(members(pair).items()):
                info = tarfile.TarInfo(f"{pair.sample_id}.{name}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def members(pair: NoisePair) -> dict[str, bytes]:
    """Map each file extension of a pair to the file's content."""
    files = {
        "golden_noise.npy": _npy(pair.golden_noise),
        "json": canonical_json(
            {
                "sample_id": pair.sample_id,
                "prompt": pair.prompt,
                "prompt_id": pair.prompt_id,
                "seed": pair.seed,
                "source_rewards": pair.source_rewards,
                "golden_rewards": pair.golden_rewards,
                "noise_stats": pair.noise_stats.model_dump(),
            }
        ),
    }
    if pair.source_noise is not None:
        files["source_noise.npy"] = _npy(pair.source_noise)
    for name, image in (("source_image", pair.source_image), ("golden_image", pair.golden_image)):
        if image is not None:
            files[f"{name}.{image_suffix(image)}"] = image
    return files


def image_suffix(image: bytes) -> str:
    """Return ``png`` or ``webp``, from the first bytes."""
    return "png" if image.startswith(b"\x89PNG") else "webp"


def _npy(noise: Noise) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.ascontiguousarray(noise), allow_pickle=False)
    return buffer.getvalue()
