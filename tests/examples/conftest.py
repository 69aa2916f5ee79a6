"""The small sealed data set, in the place of the demo's."""

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]
