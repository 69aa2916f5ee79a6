"""Reading sealed data sets from training code."""

from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source
from pipeline.reader.dataset import NoisePairDataset

__all__ = ["Cache", "NoisePairDataset", "Source"]
