"""Tar files with the layout of the sealed webdataset shards and a chosen number of pairs."""

from pathlib import Path

from pipeline.publish.export.format import Format
from pipeline.publish.export.part import Part
from pipeline.publish.webdataset_shard import write_samples


class WebDataset(Format):
    """Writer for ``--format webdataset``: ``train-00000-of-00010.tar``."""

    def write_part(self, folder: Path, part: Part) -> None:
        """Write one tar file."""
        with (folder / f"{part.name}.tar").open("wb") as file:
            write_samples(file, part.pairs)
