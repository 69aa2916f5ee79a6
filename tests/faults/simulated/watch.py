"""What may never be, looked at after every single change of the store.

A reader or a worker may look at any moment, so nothing may ever be wrong even for one: whatever is
referenced is there with the promised bytes, and what was committed does not change or vanish.
"""

import json
from typing import Any

from pipeline.identity import sha256
from pipeline.storage.layout import SUCCESS_KEY
from tests.faults.simulated.memory_store import Objects

_FINAL = ("receipts", "manifests", "plans")
"""What is put once and then stays."""
_NAMED_BY_CONTENT = ("units", "shards", "ledgers")
"""What may be written again with the same bytes, and removed while nothing refers to it."""


class Watch:
    """Collects ``problems``; is told of every change."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._objects: Objects | None = None
        self._seen: dict[str, bytes] = {}
        self._promised: dict[str, tuple[str, str]] = {}
        """The digest of everything that is referenced, and what refers to it."""
        self._sealed: set[str] = set()

    def over(self, objects: Objects) -> None:
        """Say whose changes these will be."""
        self._objects = objects

    def __call__(self, key: str) -> None:
        """Look at what has just changed."""
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
            self.problems.append(f"{key} is not there, and {referrer} refers to it")
        elif sha256(found.data) != digest:
            self.problems.append(f"{key} is not what {referrer} promises")
