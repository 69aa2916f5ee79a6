"""Fixtures: the small sealed data set."""

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]
