"""The small sealed data set: as it is, and as a copy to damage."""

from tests.sealed import built, damaged, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]
