"""Detection of the parent process, needed by copies of a data set.

A copy that a DataLoader worker receives belongs to the process that started the worker. It follows
that process's rank and epoch. Every other copy is independent. This includes a copy that is passed
to a process of a training run (``torch.multiprocessing.spawn``, Ray), which joins its process group
later. The sender cannot distinguish the two cases, because it pickles its arguments in the same
way. The receiver can.
"""

import multiprocessing
from multiprocessing.context import get_spawning_popen

from torch.utils.data import get_worker_info


def is_starting_a_process() -> bool:
    """Return True while the arguments of a process that is being started are pickled."""
    return get_spawning_popen() is not None


def loader_process() -> int | None:
    """Return the id of the process that started this DataLoader worker; None elsewhere."""
    parent = multiprocessing.parent_process()
    return None if parent is None or get_worker_info() is None else parent.pid
