"""Export of a sealed plan to the layouts of other loaders (``npd export``).

Each format is one module. Pairs stream from the sealed shards, in order, into files with a fixed
number of pairs. Source noises that the data set does not store are rebuilt from their seeds,
because other loaders cannot do this. ``export.json`` is written first and identifies the export.
``SHA256SUMS`` is written last, after every file was read back.
"""

from pipeline.publish.export.formats import FORMATS, specify_export
from pipeline.publish.export.run import Exported, export
from pipeline.publish.export.spec import ExportSpec, FormatName, Licences

__all__ = [
    "FORMATS",
    "ExportSpec",
    "Exported",
    "FormatName",
    "Licences",
    "export",
    "specify_export",
]
