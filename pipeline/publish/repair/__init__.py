"""Repair of the damaged objects of a sealed data set.

Every object can be rebuilt from others: ``_SUCCESS`` from the manifests, a manifest from receipts
and selection, shards from unit objects, a ledger from receipts, a unit from the plan. A rebuilt
object must have the promised digest before it replaces the damaged one. So a repair that is
interrupted, or fails on this machine, loses nothing and can be run again.
"""

from pipeline.publish.repair.store import Recompute, repair

__all__ = ["Recompute", "repair"]
