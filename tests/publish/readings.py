"""Training pairs of a store as read by our reader, our exports and other libraries.

A reading is the list of pairs in the reader's order, in one form for all.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset

from pipeline.core.errors import VerificationError
from pipeline.core.records import Split
from pipeline.publish.export import export, specify_export
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.reader.samples import decode_picture
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.layout import ShardFormat
from pipeline.storage.open import open_store
from tests.sealed import manifest_of

NOISES = ("source_noise", "golden_noise")
NUMBERS = ("source_rewards", "golden_rewards", "noise_stats")
IMAGES = ("source_image", "golden_image")

Pair = tuple[object, ...]
Reading = list[Pair]


def readings(folder: Path, scratch: Path, shard_format: ShardFormat) -> dict[str, Reading]:
    """Return every reading of a store whose only format is ``shard_format``."""
    shards = [folder / info.key for info in manifest_of(folder).shards[Split.TRAIN][shard_format]]
    found = {
        "dataset": [*map(_ours, NoisePairDataset(str(folder)))],
        "table": [*map(_ours, NoisePairTable(str(folder)))],
        "parquet": _parquet(folder, scratch / "parquet"),
    }
    for shard in shards:
        for name, reading in readings_of_others(shard, shard_format).items():
            found.setdefault(name, []).extend(reading)
    return found


def readings_of_others(shard: Path, shard_format: ShardFormat) -> dict[str, Reading]:
    """Return the pairs that other libraries read from a shard."""
    others = {"arrow": (_arrow_file, _arrow_stream), "webdataset": (_webdataset, _tarfile)}
    return {read.__name__: [*map(_pair, read(shard))] for read in others[shard_format]}


def as_reading(pairs: Iterable[NoisePair]) -> Reading:
    """Convert our pairs to a reading."""
    return [_pair({**vars(pair), "noise_stats": vars(pair.noise_stats)}) for pair in pairs]


def noises_of_npz(folder: Path, scratch: Path) -> list[tuple[bytes, bytes]]:
    """The noises of the authors' layout, in their order."""
    _export(folder, scratch, "golden-noise-npz")
    paths = sorted(scratch.rglob("*.npz"), key=lambda path: int(path.name.partition("_")[0]))
    files = [np.load(path) for path in paths]
    return [(file["arr_0"].tobytes(), file["arr_1"].tobytes()) for file in files]


def noises_of(reading: Reading) -> list[tuple[object, object]]:
    """The noises of a reading."""
    return [(pair[4], pair[5]) for pair in reading]


def _ours(sample: Mapping[str, Any]) -> Pair:
    return _pair({**sample, **{name: sample[name].numpy() for name in (*NOISES, *IMAGES)}})


def _pair(row: Mapping[str, Any]) -> Pair:
    texts = [row[name] for name in ("sample_id", "prompt", "prompt_id", "seed")]
    noises = [np.asarray(row[name], np.float16).tobytes() for name in NOISES]
    numbers = [tuple(sorted((k, v) for k, v in row[name].items())) for name in NUMBERS]
    images = [_pixels(row[name]) for name in IMAGES]
    return (*texts, *noises, *numbers, *images)


def _pixels(image: Any) -> bytes:
    try:
        values: Any = decode_picture(image, "a pair").numpy() if isinstance(image, bytes) else image
    except VerificationError:  # a picture whose bytes were changed
        return bytes(image)
    return bytes(values.tobytes())


def _export(folder: Path, scratch: Path, name: str) -> None:
    store = open_store(str(folder))
    export(store, open_store(str(scratch)), specify_export(store, name, ["train"]))


def _parquet(folder: Path, scratch: Path) -> Reading:
    _export(folder, scratch, "parquet")
    (path,) = scratch.glob("*.parquet")
    return [*map(_pair, pq.read_table(path).to_pylist())]


def _arrow_file(path: Path) -> Iterable[Mapping[str, Any]]:
    rows: list[Mapping[str, Any]] = pa.ipc.open_file(path.read_bytes()).read_all().to_pylist()
    return rows


def _arrow_stream(path: Path) -> Iterable[Mapping[str, Any]]:
    stream = pa.ipc.open_stream(path.read_bytes()[8:])
    rows: list[Mapping[str, Any]] = stream.read_all().to_pylist()
    return rows


def _webdataset(path: Path) -> Iterable[Mapping[str, Any]]:
    for sample in webdataset.WebDataset(str(path), shardshuffle=False).decode():
        assert sample["json"]["sample_id"] == sample["__key__"]
        yield _sample(sample["json"], sample.__getitem__)


def _tarfile(path: Path) -> Iterable[Mapping[str, Any]]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            sample_id, _, extension = member.name.partition(".")
            file = tar.extractfile(member)
            assert file is not None
            samples.setdefault(sample_id, {})[extension] = file.read()
    for files in samples.values():
        content = {
            name: np.load(io.BytesIO(data)) if name.endswith(".npy") else data
            for name, data in files.items()
        }
        yield _sample(json.loads(files["json"]), content.__getitem__)


def _sample(row: Mapping[str, Any], file: Callable[[str], Any]) -> Mapping[str, Any]:
    noises = {name: file(f"{name}.npy") for name in NOISES}
    return {**row, **noises, **{name: file(f"{name}.png") for name in IMAGES}}
