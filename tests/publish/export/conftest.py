"""Two sealed data sets: the usual one, and one without any optional columns."""

from tests.publish.export.exports import bare_folder

__all__ = ["bare_folder"]
