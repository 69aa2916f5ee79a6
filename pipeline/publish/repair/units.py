"""Repair of unit objects and receipts: recomputed separately, checked, then put in place."""

from collections.abc import Sequence
from contextlib import suppress

from pipeline.config.plan import Plan
from pipeline.core.errors import ObjectNotFoundError, VerificationError
from pipeline.core.fingerprint import Fingerprint
from pipeline.core.identity import canonical_json, sha256, short
from pipeline.publish.reselection import Reselection
from pipeline.publish.verify.findings import Problem
from pipeline.publish.verify.units import CheckedLedger
from pipeline.storage import layout
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.receipts import Receipt, read_receipt


def damaged_units(problems: Sequence[Problem]) -> list[int]:
    """Return the units whose object or receipt is damaged."""
    places = (problem.place for problem in problems)
    return sorted({place.unit for place in places if place is not None and place.unit is not None})


def is_intact(store: ObjectStore, key: str, digest: str, num_bytes: int) -> bool:
    """Return True if an object exists and has the given SHA-256, and at most ``num_bytes``."""
    try:
        return sha256(store.get(key, num_bytes)) == digest
    except (ObjectNotFoundError, VerificationError):
        return False


class UnitRepair:
    """Replacement of damaged units by units that were recomputed in a separate store."""

    def __init__(
        self,
        store: ObjectStore,
        scratch: ObjectStore,
        plan: Plan,
        problems: Sequence[Problem],
        fingerprints: Sequence[Fingerprint],
    ) -> None:
        self._store = store
        self._scratch = scratch
        self._plan = plan
        self._damaged = {problem.key for problem in problems}
        self._fingerprints = fingerprints

    def check(
        self,
        unit: int,
        prompts: PromptTable,
        reselection: Reselection,
        ledger: CheckedLedger | None,
    ) -> None:
        """Raise ``VerificationError`` if a recomputed unit differs from what was promised."""
        made = read_receipt(self._scratch, self._plan.plan_id, unit)
        where = f"unit {unit} of plan {self._plan.plan_id}, computed again,"
        if self._is_damaged(unit):
            promised = self._digests_of_objects(unit)
            fingerprints = self._fingerprints
        else:
            first = read_receipt(self._store, self._plan.plan_id, unit)
            promised, fingerprints = {first.data_sha256}, [first.fingerprint]
        # A damaged receipt promises nothing. Then the digests in the names of the unit's intact
        # objects are what is known of the result, and the ledger below checks the outcomes.
        if promised and made.data_sha256 not in promised:
            raise VerificationError(
                f"{where} has the digest {made.data_sha256}, and {' or '.join(sorted(promised))} "
                f"is promised; nothing was replaced. {_who(fingerprints, made)}"
            )
        candidates = list(prompts.candidates(self._plan, self._plan.unit_range(unit)))
        if ledger is not None and not ledger.holds(reselection.of(made).outcomes, candidates):
            raise VerificationError(
                f"{where} has other outcomes than {ledger.key}; nothing was replaced. "
                f"{_who(fingerprints, made)}"
            )

    def put(self, unit: int) -> list[str]:
        """Replace the damaged objects of a unit, data before receipt; return the written keys."""
        made = read_receipt(self._scratch, self._plan.plan_id, unit)
        data = self._scratch.get(made.data_key)
        written = []
        # As in a commit: a receipt must never name data that is not in the store.
        if not is_intact(self._store, made.data_key, made.data_sha256, made.data_bytes):
            self._store.put(made.data_key, data)
            written.append(made.data_key)
        if self._is_damaged(unit):
            key = layout.receipt_key(self._plan.plan_id, unit)
            self._store.put(key, made.model_dump_json().encode())
            written.append(key)
        return written

    def _is_damaged(self, unit: int) -> bool:
        return layout.receipt_key(self._plan.plan_id, unit) in self._damaged

    def _digests_of_objects(self, unit: int) -> set[str]:
        """Return the digests of the unit's undamaged objects, one of which was committed."""
        listed = self._store.list(layout.unit_prefix(self._plan.plan_id, unit))
        keys = [info.key for info in listed if layout.place_of(info.key) is not None]
        # An object counts only if its bytes have the digest in its key.
        digests = {}
        for key in keys:
            with suppress(VerificationError):
                digests[key] = sha256(self._store.get(key))
        return {digest for key, digest in digests.items() if short(digest) in key}


def _who(promised: Sequence[Fingerprint], made: Receipt) -> str:
    before = " or ".join(_text(fingerprint) for fingerprint in promised)
    return f"Computed before with {before}; here with {_text(made.fingerprint)}"


def _text(fingerprint: Fingerprint) -> str:
    return canonical_json(fingerprint.model_dump(mode="json")).decode()
