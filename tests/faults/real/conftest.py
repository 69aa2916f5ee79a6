"""The small sealed data set, to be damaged before the accountant's eyes."""

from tests.sealed import built, damaged, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]
