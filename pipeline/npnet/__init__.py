"""Noise prompt networks: golden noise in one evaluation of a small network."""

from pipeline.npnet.network import NPNet

__all__ = ["NPNet"]
