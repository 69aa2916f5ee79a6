"""A sealed plan in the layout of somebody else's loader: ``npd export``.

One file a format. Pairs stream from the sealed shards, in their order, into files of a fixed number
of pairs; a source noise that the data set leaves out is rebuilt from its seed, because other
loaders cannot. ``export.json`` is written first and says of what a folder is the export;
``SHA256SUMS`` is written last and says that everything is there and was read back.
"""

from pipeline.publish.export.formats import FORMATS, FormatName
from pipeline.publish.export.spec import ExportSpec, Licences, order_export
from pipeline.publish.export.walk import Exported, export

__all__ = ["FORMATS", "ExportSpec", "Exported", "FormatName", "Licences", "export", "order_export"]
