"""Readers of other libraries and ours, one file each."""

from collections.abc import Mapping

from benchmarks.peers.hugging_face import HuggingFace
from benchmarks.peers.litdata import LitData
from benchmarks.peers.mosaic import Mosaic
from benchmarks.peers.ours import Ours
from benchmarks.peers.peer import Peer
from benchmarks.peers.tar import Tar

PEERS: Mapping[str, Peer] = {
    "ours": Ours(),
    "webdataset": Tar(),
    "datasets": HuggingFace(),
    "mosaicml-streaming": Mosaic(),
    "litdata": LitData(),
}
"""Maps the name of each library for ``pip`` to its reader."""
