"""Where an iteration stands, in the process that began it and in the workers that it started."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch.utils.data import get_worker_info

from pipeline.errors import UserError
from pipeline.reader.shared import Shared
from pipeline.reader.state import Slot, State, read_state, whole


class Cursor:
    """Begins iterations, counts their batches, and can be put to where another one stood."""

    def __init__(self, shared: Shared, read: Mapping[str, Any], total: int) -> None:
        """``read`` says what states are positions in; ``total`` counts the places of an epoch."""
        self._shared = shared
        self._read = dict(read)
        self._total = total
        self._state = State()
        self._loaded: State | None = None
        self._loaded_in_worker = False

    def set_epoch(self, epoch: int) -> None:
        """Stand before an epoch, unless a state inside it was loaded."""
        if self._loaded is not None and self._loaded.epoch != epoch:
            self._loaded = None
        self._shared.epoch = epoch
        self._shared.workers = 0
        self._state = State(epoch=epoch)

    def begin(self, slot: Slot) -> State:
        """Where a new iteration starts. A loaded state is used by one iteration."""
        info = get_worker_info()
        start = self.start()
        # The same in all workers of one iteration, and never 0.
        iteration = 0 if info is None else (info.seed - info.id) % 2**62 + 1
        if info is not None and self._loaded is not None and not self._loaded_in_worker:
            # Copies of a loaded state come with every new set of workers: the first ones use it.
            if self._shared.resumed not in (0, iteration):
                start = State(epoch=self._shared.epoch)
            else:
                self._shared.resumed = iteration
        self._loaded = None
        self._loaded_in_worker = False
        self._shared.workers = iteration
        self._state = replace(start, slot=slot)
        return start

    def advance(self) -> None:
        """One batch more was made."""
        self._state = replace(self._state, taken=self._state.taken + 1)

    def start(self) -> State:
        """Where the next iteration starts."""
        loaded = self._loaded
        if loaded is None or loaded.epoch != self._shared.epoch:
            return State(epoch=self._shared.epoch)
        return loaded

    def state_dict(self) -> dict[str, Any]:
        """Where this process stands. Raises ``UserError`` where its workers alone know."""
        if get_worker_info() is None and self._shared.workers:
            raise UserError(
                "DataLoader workers read this data set, and only they know how far: use "
                "StatefulDataLoader (torchdata) and its state, or pairs.state_after(batches)"
            )
        state = self._loaded or self._state
        if state.slot is not None and state.slot.num_workers == 1:
            state = whole(state, self._total)
        return state.to_dict(self._read)

    def state_after(self, slot: Slot, batches: int) -> dict[str, Any]:
        """The state once each rank was given so many batches from where the next would start."""
        state = replace(self.start(), slot=replace(slot, num_workers=1, worker=0), taken=batches)
        return whole(state, self._total).to_dict(self._read)

    def load(self, state: Mapping[str, Any], slot: Slot) -> None:
        """Start the next iteration from a state. Raises ``UserError`` for one of something else."""
        loaded = read_state(state, self._read, self._total)
        in_worker = get_worker_info() is not None
        if not in_worker:
            loaded = whole(loaded, self._total)
            self._shared.workers = self._shared.resumed = 0
            self._shared.epoch = loaded.epoch
        elif loaded.slot is not None and loaded.slot != slot:
            raise UserError(
                f"the state was taken as {loaded.slot}, here is {slot}: give the loader's whole "
                "state to pairs.load_state_dict(state), and none to the loader"
            )
        self._loaded = loaded
        self._loaded_in_worker = in_worker
