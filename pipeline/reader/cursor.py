"""Position of an iteration, in the main process and in its DataLoader workers.

Each process has its own cursor. The main process starts no iteration of the data set if workers
read it, so what it needs to know about them is in ``SharedState``.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch.utils.data import get_worker_info

from pipeline.core.errors import UserError
from pipeline.reader.partition import WorkerSlot
from pipeline.reader.shared_state import SharedState
from pipeline.reader.state import State, complete, read_state


class Cursor:
    """Starts iterations, counts their batches and resumes from a saved state."""

    def __init__(self, shared: SharedState, read: Mapping[str, Any], total: int) -> None:
        """Create a cursor before epoch 0.

        read: identity of the data and settings. A state with another identity is rejected.
        total: number of places in an epoch.
        """
        self._shared = shared
        self._read = dict(read)
        self._total = total
        self._state = State()
        self._loaded: State | None = None
        self._loaded_in_worker = False
        self._num_loads = 0
        self._num_begun_in_worker = 0

    @property
    def is_unread(self) -> bool:
        """True if no iteration started since the last ``set_epoch`` or ``load``."""
        if self._shared.read_by_workers:
            return False
        return self._loaded is not None or self._state.slot is None

    @property
    def continues_in_worker(self) -> bool:
        """True in a persistent worker that already started an earlier iteration."""
        return self._num_begun_in_worker > 1

    def set_epoch(self, epoch: int) -> None:
        """Move to the start of an epoch. A loaded state inside this epoch is kept."""
        # A training loop calls this before each epoch, also right after it loaded a state.
        if self._loaded is None or self._loaded.epoch != epoch:
            self._loaded = None
            # Workers that hold a copy of the state must not use it any more.
            self._shared.load(0)
        self._shared.epoch = epoch
        self._shared.begin(by_workers=False)
        self._state = State(epoch=epoch)

    def begin(self, slot: WorkerSlot) -> State:
        """Start an iteration and return its start state. A loaded state is used only once."""
        in_worker = get_worker_info() is not None
        # The main process and its workers hold copies of one loaded state. Only the next iteration
        # may use it, in whichever of them it starts.
        uses_loaded = self._may_use_loaded_in_worker() if in_worker else not self._shared.is_used
        loaded = self._loaded_for(self._shared.epoch) if uses_loaded else None
        start = loaded or State(epoch=self._shared.epoch)
        self._loaded = None
        self._loaded_in_worker = False
        # With this, the main process learns that workers read: its ``state_dict`` then raises, and
        # ``state_after`` counts from the start that the workers had.
        self._shared.begin(by_workers=in_worker, where_loaded=loaded is not None)
        self._state = replace(start, slot=slot)
        return start

    def advance(self) -> None:
        """Count one more batch."""
        self._state = replace(self._state, taken=self._state.taken + 1)

    def state_dict(self) -> dict[str, Any]:
        """Return the position of this process as a dictionary.

        Raises ``UserError`` if DataLoader workers read the data set: only they know the position.
        """
        if get_worker_info() is None and self._shared.read_by_workers:
            raise UserError(
                "DataLoader workers read this data set, and only they know how far: use "
                "StatefulDataLoader (torchdata) and its state, or pairs.state_after(batches)"
            )
        # A loaded state that no iteration has used yet is the position where the next one starts.
        state = self._loaded or self._state
        # A state of the only worker covers all places. If there are more, the loader gathers their
        # states, and ``read_state`` joins them.
        if state.slot is not None and state.slot.num_workers == 1:
            state = complete(state, self._total)
        return state.to_dict(self._read)

    def state_after(self, slot: WorkerSlot, batches: int) -> dict[str, Any]:
        """Return the state after each rank received ``batches`` batches of the current epoch."""
        # A DataLoader returns the batches of its workers in the order of the rank, so their number
        # does not matter.
        slot = replace(slot, num_workers=1, worker=0)
        state = replace(self._last_start(), slot=slot, taken=batches)
        return complete(state, self._total).to_dict(self._read)

    def load(self, state: Mapping[str, Any], slot: WorkerSlot) -> None:
        """Start the next iteration from a state. Raise ``UserError`` if it is of other data."""
        loaded = read_state(state, self._read, self._total)
        in_worker = get_worker_info() is not None
        if not in_worker:
            loaded = complete(loaded, self._total)
            # Workers that start later receive this cursor and its number. Workers that are alive
            # have an older number, by which they notice the load.
            self._num_loads += 1
            self._shared.load(self._num_loads)
            self._shared.begin(by_workers=False)
            self._shared.epoch = loaded.epoch
        elif loaded.slot is not None and loaded.slot != slot:
            raise UserError(
                f"the state was taken as {loaded.slot}, here is {slot}: give the loader's complete "
                "state to pairs.load_state_dict(state), and none to the loader"
            )
        self._loaded = loaded
        self._loaded_in_worker = in_worker

    def _loaded_for(self, epoch: int) -> State | None:
        return None if self._loaded is None or self._loaded.epoch != epoch else self._loaded

    def _may_use_loaded_in_worker(self) -> bool:
        """Return True if this worker may use its loaded state.

        A state that was loaded in the main process is copied into every new set of workers. Only
        the first set uses it. Raises ``UserError`` in a worker that started before the load.
        """
        info = get_worker_info()
        assert info is not None, "called in workers only"
        self._num_begun_in_worker += 1
        if self._loaded_in_worker or not self._shared.loaded:
            return True
        if self._num_loads != self._shared.loaded:
            if self._shared.is_used:
                return False
            raise UserError(
                "a state was loaded while persistent DataLoader workers were alive, which do not "
                "have it: make a new DataLoader after pairs.load_state_dict(state)"
            )
        # This number is equal in all workers of one iteration: a worker's seed is a common seed
        # plus its id. Persistent workers keep their seed, so their iterations are counted. A later
        # set of workers can have the same seed if the program seeds torch before each epoch. So
        # each worker also records that it has resumed.
        iteration = hash((info.seed - info.id, info.num_workers, self._num_begun_in_worker))
        return self._shared.resume(iteration or 1, info.id)  # 0 stands for no iteration

    def _last_start(self) -> State:
        """Return the start of the current iteration, or of the next one if none is running."""
        if self._shared.read_by_workers:
            loaded = self._loaded if self._shared.began_where_loaded else None
        elif self._state.slot is not None and self._loaded is None:
            return replace(self._state, slot=None, taken=0)
        else:
            loaded = None if self._shared.is_used else self._loaded
        return loaded or State(epoch=self._shared.epoch)
