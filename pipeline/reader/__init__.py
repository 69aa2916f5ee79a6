"""Reading a sealed data set from training code."""

from pipeline.reader.dataset import NoisePairDataset

__all__ = ["NoisePairDataset"]
