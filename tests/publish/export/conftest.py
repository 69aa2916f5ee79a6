"""Two sealed data sets: the usual one, and one that leaves out what can be left out."""

from tests.publish.export.exports import bare_folder

__all__ = ["bare_folder"]
