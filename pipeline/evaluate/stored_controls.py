"""Controls that were measured with the models, stored so that later reports have them too.

A report without ``--guidance`` cannot measure them again: it has no models. All controls of a plan
are in one object, because readers of public data sets may not list. They compare the scores of all
candidates, so they hold for every version of the plan.
"""

import re
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from pipeline.core.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    RetryableStoreError,
    VerificationError,
)
from pipeline.core.identity import readable_json
from pipeline.core.records import Record
from pipeline.core.validation import explain
from pipeline.evaluate.compare import Gain
from pipeline.evaluate.report import ReportRow
from pipeline.storage import layout
from pipeline.storage.object_store import MAX_RECORD_BYTES, ObjectStore

_NAME = "controls.json"

_ROW = "control: plain guidance "

_SWAPS = 20
"""Number of tries while other reports store their controls at the same time."""


class GuidanceControl(Record):
    """Gains of plain guidance at another scale, from the same source noises."""

    guidance: float
    evaluations: int
    """Number of forward evaluations for one image."""
    gains: dict[str, Gain | None]
    """Maps each reward's name to the gain; None if there are no pairs to compare."""

    @property
    def name(self) -> str:
        """Name of its row in the report."""
        return f"{_ROW}{self.guidance:g}"

    def row(self, rewards: Iterable[str]) -> ReportRow:
        """Return its row of the report."""
        gains = {reward: self.gains.get(reward) for reward in rewards}
        return ReportRow(name=self.name, evaluations=self.evaluations, gains=gains)


class _Controls(Record):
    guidance: list[GuidanceControl]


def measured_controls(report: str) -> set[str]:
    """Return the names of the rows of a report that were measured with the models."""
    return set(re.findall(rf"^\| ({_ROW}\S+)", report, re.MULTILINE))


def controls_key(plan_id: str) -> str:
    """Return the key of the stored controls of a plan."""
    return layout.report_key(plan_id, _NAME)


def read_controls(stores: Iterable[ObjectStore], plan_id: str) -> list[GuidanceControl]:
    """Return the stored controls of a plan, by scale. A later store replaces equal scales.

    Raises ``VerificationError`` for a damaged object.
    """
    key = controls_key(plan_id)
    found: dict[float, GuidanceControl] = {}
    for store in stores:
        try:
            data = store.get(key, MAX_RECORD_BYTES)
        # Without the permission to list, a missing object looks like a forbidden one.
        except (ObjectNotFoundError, AccessDeniedError):
            continue
        found |= {each.guidance: each for each in _parsed(store, key, data)}
    return _by_scale(found.values())


def add_control(store: ObjectStore, plan_id: str, control: GuidanceControl) -> None:
    """Store a control beside the others of its plan. It replaces one of the same scale."""
    key = controls_key(plan_id)
    for _ in range(_SWAPS):
        try:
            data, version = store.get_versioned(key)
        except (ObjectNotFoundError, AccessDeniedError):
            if store.put_if_absent(key, _bytes([control])):
                return
            continue
        others = [each for each in _parsed(store, key, data) if each.guidance != control.guidance]
        if store.put_if_version(key, _bytes([*others, control]), version):
            return
    raise RetryableStoreError(f"{store.url}/{key} keeps changing; try again")


def _parsed(store: ObjectStore, key: str, data: bytes) -> Sequence[GuidanceControl]:
    try:
        return _Controls.model_validate_json(data).guidance
    except ValidationError as error:
        raise VerificationError(
            f"{store.url}/{key}: damaged; delete it, and measure the controls again with "
            f"--guidance: {explain(error)}"
        ) from None


def _bytes(controls: Iterable[GuidanceControl]) -> bytes:
    stored = _Controls(guidance=_by_scale(controls))
    return readable_json(stored.model_dump(mode="json"))


def _by_scale(controls: Iterable[GuidanceControl]) -> list[GuidanceControl]:
    return sorted(controls, key=lambda control: control.guidance)
