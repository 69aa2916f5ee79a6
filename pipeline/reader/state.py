"""Conversion of a position in an epoch to a JSON-compatible dictionary and back.

The state of a single process is the progress of the epoch. Any number of ranks and workers can
continue from it. A DataLoader worker knows only how many batches it has made. Its state holds this
number and the partition of the places. The states of all workers of a rank together give the
progress again. All ranks are assumed to be in step, as in data-parallel training, so the state of
one rank is enough.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from pipeline.core.errors import UserError
from pipeline.reader.partition import Partition, Progress, WorkerSlot

_KIND = "noise-pairs"
_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class State:
    """Position at which reading continues."""

    epoch: int = 0
    progress: Progress = field(default_factory=Progress)
    """Progress before the first batch of ``slot``."""
    slot: WorkerSlot | None = None
    """Slot of the worker that made the state. None if the state covers all workers."""
    taken: int = 0
    """Number of batches that the slot's worker has made."""

    def to_dict(self, read: Mapping[str, Any]) -> dict[str, Any]:
        """Return the state as a dictionary. ``read`` is the identity of the data and settings."""
        content: dict[str, Any] = {
            "kind": _KIND,
            "version": _VERSION,
            "read": dict(read),
            "epoch": self.epoch,
            "position": self.progress.position,
            "ahead": [list(stretch) for stretch in self.progress.ahead],
        }
        if self.slot is not None:
            content["slot"] = asdict(self.slot)
            content["taken"] = self.taken
        return content


def read_state(content: Any, read: Mapping[str, Any], total: int) -> State:
    """Return the state from a ``state_dict``, alone or inside the state of a StatefulDataLoader.

    Raises ``UserError`` for a state of other data or of only some of the workers.
    """
    found = list(states_in(content))
    if not found:
        raise UserError("the state holds no position in a noise pair data set")
    # With snapshot_every_n_steps > 1, the states of the workers can be older than the position of
    # the loader. Another loader repeats the steps since then. A data set cannot, because it does
    # not know which worker made them.
    if _steps_since_snapshot(content):
        raise UserError(
            "the state is older than what was read: give StatefulDataLoader "
            "snapshot_every_n_steps=1, or load the state into another one with as many workers"
        )
    states = [_from_dict(each, read) for each in found]
    return states[0] if len(states) == 1 else _joined(states, total)


def complete(state: State, total: int) -> State:
    """Return a state that covers all workers. Raise ``UserError`` if some workers are missing."""
    return state if state.slot is None else _joined([state], total)


def _joined(states: Sequence[State], total: int) -> State:
    first = states[0]
    slots = {state.slot.worker: state for state in states if state.slot is not None}
    if first.slot is None or sorted(slots) != list(range(first.slot.num_workers)):
        raise UserError(
            "the state is that of one DataLoader worker among several: load the complete state, "
            "pairs.load_state_dict(loader.state_dict())"
        )
    # All workers began the iteration with the same progress. Only the number of batches differs.
    alike = {(s.epoch, s.progress, replace(s.slot, worker=0)) for s in states if s.slot is not None}
    if len(alike) > 1:
        raise UserError("the state's workers disagree on the partition of the epoch")
    taken = [slots[worker].taken for worker in sorted(slots)]
    done = first.slot.deal.done(first.progress.num_remaining(total), taken)
    return State(epoch=first.epoch, progress=first.progress.after(total, done))


def states_in(content: Any) -> Iterator[Mapping[str, Any]]:
    """Yield all positions in a state, including those nested in the state of a loader."""
    if isinstance(content, Mapping):
        if content.get("kind") == _KIND:
            yield content
        else:
            for value in content.values():
                yield from states_in(value)


def _steps_since_snapshot(content: Any) -> int:
    return int(content.get("_steps_since_snapshot", 0)) if isinstance(content, Mapping) else 0


def _from_dict(content: Mapping[str, Any], read: Mapping[str, Any]) -> State:
    if content["version"] != _VERSION:
        raise UserError(
            f"the state has version {content['version']}, this reads {_VERSION}: "
            "use the noise-prompt-dataset that wrote it"
        )
    for name, value in read.items():
        if _comparable(name, content["read"].get(name)) != _comparable(name, value):
            raise UserError(
                f"the state is a position in something else: its {name} is "
                f"{content['read'].get(name)!r}, here it is {value!r}"
            )
    slot = content.get("slot")
    return State(
        epoch=content["epoch"],
        progress=Progress(
            position=content["position"],
            ahead=tuple((start, stop) for start, stop in content["ahead"]),
        ),
        slot=None if slot is None else WorkerSlot(**{**slot, "deal": Partition(**slot["deal"])}),
        taken=content.get("taken", 0),
    )


def _comparable(name: str, value: Any) -> Any:
    """Return a setting without plan names. The digest of the data already identifies the plans."""
    if name != "filters" or not isinstance(value, Mapping):
        return value
    return {filtered: setting for filtered, setting in value.items() if filtered != "plans"}
