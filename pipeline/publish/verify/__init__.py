"""Reads a data set back and looks for anything that is not as promised.

Every object's digest; receipts against plan; unit objects, shards and ledger against receipts;
every noise finite; every source noise rebuilt from its seed, bit for bit. Memory holds one shard,
the ledger, and the outcomes and digests of kept pairs.
"""

from pipeline.publish.verify.findings import Problem, Verification
from pipeline.publish.verify.store import verify

__all__ = ["Problem", "Verification", "verify"]
