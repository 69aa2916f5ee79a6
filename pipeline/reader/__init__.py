"""Reader of sealed data sets for training code."""

from pipeline.reader.cache import Cache
from pipeline.reader.catalog import Source
from pipeline.reader.dataset import NoisePairDataset
from pipeline.reader.table import NoisePairTable

__all__ = ["Cache", "NoisePairDataset", "NoisePairTable", "Source"]
