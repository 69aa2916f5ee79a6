"""Tar files of a chosen number of pairs, laid out as the sealed webdataset shards."""

from pathlib import Path

from pipeline.publish.export.format import Format
from pipeline.publish.export.part import Part
from pipeline.publish.webdataset_shard import write_samples


class WebDataset(Format):
    """``--format webdataset``: ``train-00000-of-00010.tar``."""

    def write_part(self, folder: Path, part: Part) -> None:
        """One tar."""
        with (folder / f"{part.name}.tar").open("wb") as file:
            write_samples(file, part.pairs)
