"""Stop of a DataLoader worker that cannot send a batch.

A thread of the worker's queue pickles its batches. If that fails, the queue prints the error and
drops the batch, and the epoch ends without it. The reader's batches do not fail for lack of
``/dev/shm`` (``shared_memory_batch``), but a ``collate_fn`` may return other tensors.

``multiprocessing`` has one hook for such errors, which ``concurrent.futures`` uses too. A queue
looks it up when it first sends. In a worker of ``StatefulDataLoader`` this is before anything is
read. So the hook is replaced when this module is imported, and it acts only in workers that read
pairs.
"""

import os
import sys
from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import get_worker_info

_Hook = Callable[[BaseException, object], None]

_queues: Any = Queue  # the hook is not public, so it has no type
_print_error: _Hook = _queues._on_queue_feeder_error
_reading: set[int] = set()
"""Ids of the DataLoader workers, among this process and its parents, that read pairs."""


def stop_where_a_batch_is_lost() -> None:
    """Make this DataLoader worker exit when one of its batches cannot be sent.

    The DataLoader then raises in the process that trains.
    """
    _reading.add(os.getpid())


def _after_error(error: BaseException, lost: object) -> None:
    """Report the error and exit before the thread sends that the worker has finished."""
    _print_error(error, lost)
    if os.getpid() not in _reading:
        return
    info = get_worker_info()
    print(
        f"DataLoader worker {'' if info is None else info.id} stops: a batch could not be sent, "
        "and the epoch would be incomplete. Most often /dev/shm is full: enlarge it (docker run "
        "--shm-size=8g), return the reader's tensors from collate_fn as they are, or use fewer "
        "workers or a smaller prefetch_factor.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


_queues._on_queue_feeder_error = staticmethod(_after_error)
