"""Table of all export formats by name."""

from collections.abc import Mapping
from typing import Literal, get_args

from pipeline.errors import UserError
from pipeline.publish.export.format import Format
from pipeline.publish.export.golden_noise_npz import GoldenNoiseNpz
from pipeline.publish.export.hugging_face import HuggingFace
from pipeline.publish.export.mds import Mds
from pipeline.publish.export.parquet import Parquet
from pipeline.publish.export.webdataset import WebDataset

FormatName = Literal["golden-noise-npz", "webdataset", "parquet", "mds", "hf"]

FORMATS: Mapping[FormatName, type[Format]] = {
    "golden-noise-npz": GoldenNoiseNpz,
    "webdataset": WebDataset,
    "parquet": Parquet,
    "mds": Mds,
    "hf": HuggingFace,
}


def format_named(name: str) -> FormatName:
    """Check the name of a format. Raises ``UserError`` for an unknown one."""
    for known in get_args(FormatName):
        if name == known:
            found: FormatName = known
            return found
    raise UserError(f"no format {name!r}; there are {', '.join(FORMATS)}")
