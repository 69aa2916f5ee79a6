"""Guards against loaders that would return wrong or incomplete epochs.

**accelerate.** ``accelerator.prepare(loader)`` splits the output of a loader among processes.
Either each process keeps a part of what it reads, or the first process reads and dispatches to all.
A data set that already splits its pairs among ranks would be split twice. A prepared loader also
calls ``set_epoch`` with a separate counter whenever an iteration starts. The data set itself is not
marked as prepared, but accelerate keeps a reference to the loader that is being read. Lightning and
``ray.train`` change only loaders of map-style data sets.

**Lost batches.** A thread of a DataLoader worker's queue pickles its batches. If that fails, the
queue prints the error and drops the batch, and the epoch ends without it. The reader's batches do
not fail for lack of ``/dev/shm`` (``shared_memory``), but a ``collate_fn`` may return other
tensors.
"""

import os
import sys
from collections.abc import Callable
from multiprocessing.queues import Queue
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from pipeline.core.errors import UserError
from pipeline.reader.processes import Ranks

_Hook = Callable[[BaseException, object], None]

_queues: Any = Queue  # the hook is not public, so it has no type
_print_error: _Hook = _queues._on_queue_feeder_error
_reading: set[int] = set()
"""Ids of the DataLoader workers, among this process and its parents, that read pairs."""

_NOT_PREPARED = (
    "do not prepare the loader: accelerator.prepare(model, optimizer), and for each batch "
    "accelerate.utils.send_to_device(batch, accelerator.device)"
)
_EACH_PROCESS = "Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False))"


def is_prepared(
    pairs: IterableDataset[Any], ranks: Ranks, *, with_texts: bool, returns_samples: bool
) -> bool:
    """Return True while a loader that accelerate prepared reads ``pairs``.

    ranks: ranks among which the data set itself splits its pairs.
    with_texts: True if samples hold texts.
    returns_samples: True if the data set returns samples and not batches.

    Raises ``UserError`` if that loader would return wrong pairs or none.
    """
    loader = _prepared_loader(pairs)
    if loader is not None:
        _, world_size = ranks.here()
        _check_prepared(loader, world_size, with_texts=with_texts, returns_samples=returns_samples)
    return loader is not None


def _prepared_loader(pairs: IterableDataset[Any]) -> DataLoader[Any] | None:
    """Return the prepared loader that is being read and reads ``pairs``; None if there is none."""
    accelerate_state = sys.modules.get("accelerate.state")
    if accelerate_state is None:
        return None
    loader: DataLoader[Any] | None = accelerate_state.GradientState().active_dataloader
    return loader if loader is not None and _reads(loader.dataset, pairs) else None


def _check_prepared(
    loader: DataLoader[Any], world_size: int, *, with_texts: bool, returns_samples: bool
) -> None:
    # A prepared loader exists, so this is imported already.
    from accelerate.data_loader import DataLoaderDispatcher, IterableDatasetShard
    from accelerate.state import PartialState

    shard = loader.dataset if isinstance(loader.dataset, IterableDatasetShard) else None
    is_dispatcher = isinstance(loader, DataLoaderDispatcher)
    processes = PartialState().num_processes if is_dispatcher else 1
    if world_size > 1 and (shard is not None or processes > 1):
        raise UserError(
            f"this data set splits its pairs among {world_size} processes, and accelerate would "
            f"split each part again: {_NOT_PREPARED}; or leave it to accelerate with "
            f"NoisePairDataset(…, rank=0, world_size=1), {_EACH_PROCESS} and "
            "DataLoader(pairs, batch_size=…)"
        )
    if is_dispatcher and with_texts:
        raise UserError(
            "accelerate would dispatch batches from the first process, which it cannot do with "
            f"texts: {_NOT_PREPARED}; or use {_EACH_PROCESS}"
        )
    if processes > 1 and returns_samples and loader.batch_size is None:
        # accelerate would treat the channels of a noise as the batch dimension and give each
        # process some of the channels.
        raise UserError(
            "accelerate would split samples between processes as if they were batches: "
            f"{_NOT_PREPARED}; or give batch_size to the data set or to the DataLoader"
        )
    if shard is not None and loader.batch_size is None:
        raise UserError(
            f"accelerate splits samples and this data set returns batches: {_NOT_PREPARED}; or "
            "give batch_size to the DataLoader and not to the data set"
        )


def _reads(outer: Any, pairs: IterableDataset[Any]) -> bool:
    """Return True if a data set is ``pairs`` or wraps it."""
    if outer is pairs:
        return True
    inner = vars(outer).values() if isinstance(outer, IterableDataset) else ()
    return any(_reads(each, pairs) for each in inner if isinstance(each, IterableDataset))


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
    print(  # noqa: T201 - in a training process, which has no console of ours
        f"DataLoader worker {'' if info is None else info.id} stops: a batch could not be sent, "
        "and the epoch would be incomplete. Most often /dev/shm is full: enlarge it (docker run "
        "--shm-size=8g), return the reader's tensors from collate_fn as they are, or use fewer "
        "workers or a smaller prefetch_factor.",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)


# ``multiprocessing`` has one hook for errors of the thread that sends, which ``concurrent.futures``
# uses too. A queue looks it up when it first sends. In a worker of ``StatefulDataLoader`` this is
# before anything is read. So the hook is replaced when this module is imported, and it acts only in
# workers that read pairs.
_queues._on_queue_feeder_error = staticmethod(_after_error)
