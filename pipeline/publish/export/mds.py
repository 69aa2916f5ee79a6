"""MosaicML streaming (MDS) files, written by its library, with a folder for each split.

    train/shard.00000.mds …     pairs; noises are arrays of float16 (C, H, W)
    train/index.json            index that ``StreamingDataset(local="…/train")`` opens

The library is not a dependency of this package, because it brings four cloud SDKs and torchvision.
"""

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.core.errors import UserError
from pipeline.core.records import Split
from pipeline.publish.export.format import Format, SplitPart
from pipeline.publish.export.spec import ExportSpec
from pipeline.storage.formats.pairs import NOISE_STATS, NoisePair

INDEX = "index.json"

_FORMAT_VERSION = 2
"""Format version written to the index."""


class Mds(Format):
    """Writer for ``--format mds``."""

    def __init__(self, spec: ExportSpec, scratch: Path) -> None:
        super().__init__(spec, scratch)
        try:
            self._writer: Any = import_module("streaming").MDSWriter
        except ImportError as error:
            raise UserError(
                f"--format mds needs MosaicML's streaming library ({error}); install it with "
                "`pip install mosaicml-streaming`"
            ) from None
        self._shards: list[dict[str, Any]] = []

    def write_part(self, folder: Path, part: SplitPart) -> None:
        """Write one shard; its entry of the index is written at the end of the split."""
        # The writer numbers its shards from 0 and needs an empty folder, so each part gets one.
        out = self.scratch / part.name
        samples = map(_sample, part.pairs)
        # Columns are those of the first pair: a data set stores images and source noises of all
        # pairs or of none.
        first = next(samples)
        with self._writer(out=str(out), columns=self._columns(first), size_limit=None) as writer:
            writer.write(first)
            for sample in samples:
                writer.write(sample)
        # The index that the library writes has this shard alone. Those of all parts are joined at
        # the end of the split.
        (entry,) = json.loads((out / INDEX).read_bytes())["shards"]
        name = f"shard.{part.index:05d}.mds"
        (folder / part.split.value).mkdir()
        (out / entry["raw_data"]["basename"]).rename(folder / part.split.value / name)
        entry["raw_data"]["basename"] = name
        self._shards.append(entry)

    def finish_split(self, folder: Path, split: Split) -> None:
        """Write the index."""
        index = {"version": _FORMAT_VERSION, "shards": self._shards}
        (folder / split.value).mkdir()
        (folder / split.value / INDEX).write_text(json.dumps(index, sort_keys=True))
        self._shards = []

    def _columns(self, sample: dict[str, Any]) -> dict[str, str]:
        noise = f"ndarray:float16:{','.join(map(str, self.spec.manifest.latent_shape))}"
        # The format has no type for True and False.
        encodings = {
            str: "str",
            int: "int",
            bool: "int",
            np.ndarray: noise,
            dict: "json",
            bytes: "bytes",
        }
        return {name: encodings[type(value)] for name, value in sample.items()}


def _sample(pair: NoisePair) -> dict[str, Any]:
    """Return a pair's values by column, without the columns that are None."""
    sample = {**vars(pair), NOISE_STATS: pair.noise_stats.model_dump()}
    return {name: value for name, value in sample.items() if value is not None}
