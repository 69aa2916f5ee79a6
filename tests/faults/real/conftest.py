"""Fixtures with a small sealed data set, to test the audit on damaged copies."""

from tests.sealed import built, damaged, sealed_folder

__all__ = ["built", "damaged", "sealed_folder"]
