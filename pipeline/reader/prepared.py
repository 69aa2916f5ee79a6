"""Checks of DataLoaders that were prepared by Hugging Face accelerate.

``accelerator.prepare(loader)`` splits the output of a loader among processes. Either each process
keeps a part of what it reads, or the first process reads and dispatches to all. A data set that
already splits its pairs among ranks would be split twice. A prepared loader also calls
``set_epoch`` with a separate counter whenever an iteration starts. The data set itself is not
marked as prepared, but accelerate keeps a reference to the loader that is being read. Lightning and
``ray.train`` change only loaders of map-style data sets.
"""

import sys
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from pipeline.errors import UserError

_NOT_PREPARED = (
    "do not prepare the loader: accelerator.prepare(model, optimizer), and for each batch "
    "accelerate.utils.send_to_device(batch, accelerator.device)"
)
_EACH_PROCESS = "Accelerator(dataloader_config=DataLoaderConfiguration(dispatch_batches=False))"


def prepared_loader(pairs: IterableDataset[Any]) -> DataLoader[Any] | None:
    """Return the prepared loader that is being read and reads ``pairs``; None if there is none."""
    accelerate_state = sys.modules.get("accelerate.state")
    if accelerate_state is None:
        return None
    loader: DataLoader[Any] | None = accelerate_state.GradientState().active_dataloader
    return loader if loader is not None and _reads(loader.dataset, pairs) else None


def check_prepared(
    loader: DataLoader[Any], world_size: int, *, with_texts: bool, gives_samples: bool
) -> None:
    """Raise ``UserError`` if a prepared loader would return wrong pairs or none.

    world_size: number of ranks among which the data set itself splits its pairs.
    with_texts: True if samples hold texts.
    gives_samples: True if the data set returns samples and not batches.
    """
    # A prepared loader exists, so this is imported already.
    from accelerate.data_loader import DataLoaderDispatcher, IterableDatasetShard
    from accelerate.state import PartialState

    shard = loader.dataset if isinstance(loader.dataset, IterableDatasetShard) else None
    is_dispatcher = isinstance(loader, DataLoaderDispatcher)
    processes = PartialState().num_processes if is_dispatcher else 1
    if world_size > 1 and (shard is not None or processes > 1):
        raise UserError(
            f"this data set deals its pairs out to {world_size} processes, and accelerate would "
            f"deal out each part again: {_NOT_PREPARED}; or leave it to accelerate with "
            f"NoisePairDataset(…, rank=0, world_size=1), {_EACH_PROCESS} and "
            "DataLoader(pairs, batch_size=…)"
        )
    if is_dispatcher and with_texts:
        raise UserError(
            "accelerate would dispatch batches from the first process, which it cannot do with "
            f"texts: {_NOT_PREPARED}; or use {_EACH_PROCESS}"
        )
    if processes > 1 and gives_samples and loader.batch_size is None:
        # accelerate would treat the channels of a noise as the batch dimension and give each
        # process some of the channels.
        raise UserError(
            "accelerate would split samples between processes as if they were batches: "
            f"{_NOT_PREPARED}; or give batch_size to the data set or to the DataLoader"
        )
    if shard is not None and loader.batch_size is None:
        raise UserError(
            f"accelerate deals out samples and this data set gives batches: {_NOT_PREPARED}; or "
            "give batch_size to the DataLoader and not to the data set"
        )


def _reads(outer: Any, pairs: IterableDataset[Any]) -> bool:
    """Return True if a data set is ``pairs`` or wraps it."""
    if outer is pairs:
        return True
    inner = vars(outer).values() if isinstance(outer, IterableDataset) else ()
    return any(_reads(each, pairs) for each in inner if isinstance(each, IterableDataset))
