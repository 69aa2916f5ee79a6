"""Packing of one batch while the next one computes.

Packing encodes pictures on the CPU, which can take a second for a pair of 1024 × 1024 pixels. A GPU
would wait for it.

Decoding and judging stay in the thread that computes. The precision of convolutions is a setting of
the process, which judges change, so they would change the bits of a network that runs beside them.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter

from pipeline.stages.results import Results
from pipeline.stages.stage_clock import Stage, StageClock

Packing = Callable[[], Results]
"""Packs a computed batch. It must not compute with torch: another thread has other settings."""


def packed(batches: Iterator[Packing], clock: StageClock) -> Iterator[Results]:
    """Pack batches in their order in another thread, while ``batches`` computes the next one.

    At most two batches are in memory. An error of packing is raised after the next batch.
    """
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="pack") as pool:
        pending: Future[tuple[Results, float]] | None = None
        for batch in batches:
            if pending is not None:
                yield _result(pending, clock)
            pending = pool.submit(_timed, batch)
        if pending is not None:
            yield _result(pending, clock)


def _timed(batch: Packing) -> tuple[Results, float]:
    begin = perf_counter()
    return batch(), perf_counter() - begin


def _result(pending: "Future[tuple[Results, float]]", clock: StageClock) -> Results:
    results, seconds = pending.result()
    clock.add(Stage.PACK, seconds)
    return results
