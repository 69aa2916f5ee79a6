"""Fixtures for snippets, which read a small data set in place of the demo."""

from tests.sealed import built, sealed_folder

__all__ = ["built", "sealed_folder"]
