"""The protocol of a measured library: writes the pairs in its format and reads batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.core.records import Split
from pipeline.publish.export.run import sealed_pairs
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.open import open_store
from pipeline.storage.success import sealed_manifests

BATCH_SIZE = 64
FILE_BYTES = 64 * 1024 * 1024
"""Bytes per file of every format, which is the default of MosaicML and litData."""
SAMPLES_PER_FILE = 256
"""Number of SDXL-sized pairs that fill one file."""

Batch = Mapping[str, Any]
"""A batch: ``source_noise``, ``golden_noise`` (float16, (B, C, H, W)), ``prompt``, ``seed``."""

COLUMNS = ("source_noise", "golden_noise", "prompt", "seed")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Settings of one reading."""

    url: str
    """Location of the format's folder: a path, or s3://bucket/prefix."""
    work: Path
    """An empty folder for a cache."""
    workers: int
    shuffle: bool

    @property
    def is_remote(self) -> bool:
        """True if the data are on S3."""
        return self.url.startswith("s3://")


class Peer(Protocol):
    """A library, used in the fastest way that its documentation describes."""

    module: str
    """Modules that must be importable."""

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Write the pairs of a sealed data set in the library's format."""
        ...

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Yield endless epochs of batches. The workers of the loader persist between epochs."""
        ...


def train_pairs(sealed: Path) -> Iterator[NoisePair]:
    """Return the pairs of the train split."""
    store = open_store(str(sealed))
    return sealed_pairs(store, sealed_manifests(store)[0][1], Split.TRAIN)


def presigned(url: str, keys: Sequence[str]) -> list[str]:
    """Return HTTP addresses of objects below an S3 URL, for libraries without S3 support."""
    import boto3

    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    client = boto3.client("s3")
    return [
        client.generate_presigned_url(
            "get_object", Params={"Bucket": bucket, "Key": f"{prefix}/{key}"}
        )
        for key in keys
    ]


def files_below(url: str, suffix: str) -> list[str]:
    """Return the keys below a folder or an S3 URL that end in a suffix, sorted."""
    return [info.key for info in open_store(url).list("") if info.key.endswith(suffix)]
