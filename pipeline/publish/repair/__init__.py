"""Rebuilds what is damaged in a sealed data set, and nothing else.

Everything follows from something else: ``_SUCCESS`` from the manifests, a manifest from receipts
and selection, shards from unit objects, a ledger from receipts, a unit from the plan. Whatever is
made again must have the promised digest before it takes the place of what is damaged, so a repair
that breaks off, or cannot succeed here, loses nothing and can be run again.
"""

from pipeline.publish.repair.store import Recompute, repair

__all__ = ["Recompute", "repair"]
