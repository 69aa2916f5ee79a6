"""What the measurement asks of a library: its own format of the pairs, and batches from it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from pipeline.publish.export.source import sealed_pairs
from pipeline.records import Split
from pipeline.storage.manifest import read_manifest, read_success
from pipeline.storage.open import open_store
from pipeline.storage.schema import NoisePair

BATCH_SIZE = 64
FILE_BYTES = 64 * 1024 * 1024
"""Of every format's files: what MosaicML and litData choose by themselves."""
SAMPLES_PER_FILE = 256
"""As many SDXL-sized pairs as fill one."""

Batch = Mapping[str, Any]
"""``source_noise`` and ``golden_noise`` (float16 tensors (B, C, H, W)), ``prompt``, ``seed``."""

COLUMNS = ("source_noise", "golden_noise", "prompt", "seed")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way of reading."""

    url: str
    """Of the format's folder: a path, or s3://bucket/prefix."""
    work: Path
    """An empty folder for a cache."""
    workers: int
    shuffle: bool

    @property
    def is_remote(self) -> bool:
        """From S3."""
        return self.url.startswith("s3://")


class Peer(Protocol):
    """A library, used as its documentation says that it is fastest."""

    module: str
    """What has to be importable."""

    def prepare(self, sealed: Path, folder: Path) -> None:
        """Write the pairs of a sealed data set in the library's own format."""
        ...

    def epochs(self, reading: Reading) -> Iterator[Iterator[Batch]]:
        """Endless epochs, each of batches; the loader's workers persist between them."""
        ...


def train_pairs(sealed: Path) -> Iterator[NoisePair]:
    """The pairs of the train split."""
    store = open_store(str(sealed))
    success = read_success(store)
    assert success is not None, f"{sealed} is sealed"
    return sealed_pairs(store, read_manifest(store, success.manifests[0]), Split.TRAIN)


def presigned(url: str, keys: Sequence[str]) -> list[str]:
    """HTTP addresses of objects below an S3 URL, for libraries that speak no S3."""
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
    """Keys below a folder or an S3 URL that end in a suffix, sorted."""
    return [info.key for info in open_store(url).list("") if info.key.endswith(suffix)]
