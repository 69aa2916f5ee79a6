"""Invariants of the protocol, checked after every change of the store.

A reader or a worker may read at any moment, so the invariants must hold at every moment: each
referenced object exists with its recorded bytes, and committed objects never change or disappear.
"""

import json
from typing import Any

from pipeline.core.identity import sha256
from pipeline.storage.layout import SUCCESS_KEY
from tests.faults.simulated.memory_store import Objects

_FINAL = ("receipts", "manifests", "plans")
"""Folders of objects that are written once and stay."""
_NAMED_BY_CONTENT = ("units", "shards", "ledgers")
"""Folders of objects that may be rewritten with the same bytes, and removed if unreferenced."""


class Watch:
    """Observer of all changes, which collects ``problems``."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._objects: Objects | None = None
        self._seen: dict[str, bytes] = {}
        self._promised: dict[str, tuple[str, str]] = {}
        """Maps each referenced key to its digest and the key that refers to it."""
        self._sealed: set[str] = set()

    def over(self, objects: Objects) -> None:
        """Set the objects to observe."""
        self._objects = objects

    def __call__(self, key: str) -> None:
        """Check the object that has just changed."""
        assert self._objects is not None, "over() comes first"
        found = self._objects.get(key)
        if found is None:
            self._removed(key)
            return
        folder = key.partition("/")[0]
        before = self._seen.setdefault(key, found.data)
        if folder in _FINAL + _NAMED_BY_CONTENT and before != found.data:
            self.problems.append(f"{key} was changed")
        self._keeps_promise(key)
        if folder == "receipts":
            self._receipt(key, json.loads(found.data))
        elif folder == "manifests":
            self._manifest(key, json.loads(found.data))
        elif key == SUCCESS_KEY:
            self._success(json.loads(found.data)["manifests"])

    def _removed(self, key: str) -> None:
        if key in self._promised:
            self.problems.append(f"{key} was removed, and {self._promised[key][1]} refers to it")
        elif key.partition("/")[0] in _FINAL or key == SUCCESS_KEY:
            self.problems.append(f"{key} was removed")

    def _receipt(self, key: str, receipt: dict[str, Any]) -> None:
        self._promise(receipt["data_key"], receipt["data_sha256"], key)

    def _manifest(self, key: str, manifest: dict[str, Any]) -> None:
        splits = manifest["shards"].values()
        shards = [shard for formats in splits for each in formats.values() for shard in each]
        for info in (*shards, manifest["ledger"]):
            self._promise(info["key"], info["sha256"], key)

    def _success(self, lines: list[dict[str, Any]]) -> None:
        plans = [line["plan_id"] for line in lines]
        if plans != sorted(set(plans)):
            self.problems.append(f"{SUCCESS_KEY} lists {plans}, not each plan once and in order")
        if lost := self._sealed - set(plans):
            self.problems.append(f"{SUCCESS_KEY} has lost {lost}")
        self._sealed = set(plans)
        for line in lines:
            self._promise(line["key"], line["sha256"], SUCCESS_KEY)

    def _promise(self, key: str, digest: str, referrer: str) -> None:
        self._promised[key] = (digest, referrer)
        self._keeps_promise(key)

    def _keeps_promise(self, key: str) -> None:
        assert self._objects is not None
        digest, referrer = self._promised.get(key, (None, None))
        if digest is None:
            return
        found = self._objects.get(key)
        if found is None:
            self.problems.append(f"{key} is missing, and {referrer} refers to it")
        elif sha256(found.data) != digest:
            self.problems.append(f"{key} is not what {referrer} promises")
