"""Verification of a data set by reading all of it.

The checks compare every object with its digest, receipts with the plan, and unit objects, shards
and ledger with the receipts. Every noise must be finite, and every source noise must equal, bit for
bit, the one rebuilt from its seed. Memory holds one shard, the ledger, and the outcomes and digests
of kept pairs.
"""

from pipeline.publish.verify.findings import Problem, Verification
from pipeline.publish.verify.store import verify

__all__ = ["Problem", "Verification", "verify"]
