"""Fixtures: the small sealed data set, and a copy that a test may change."""

from tests.sealed import built, damaged, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]
