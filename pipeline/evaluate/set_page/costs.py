"""Cost of a build, from the receipts of its units."""

from collections.abc import Iterator

from pipeline.core.quantities import counted
from pipeline.evaluate.set_page.progress import duration
from pipeline.evaluate.set_page.run_record import RunRecord
from pipeline.storage.manifest import Funnel


def cost_sentences(record: RunRecord, funnel: Funnel, price: float | None) -> Iterator[str]:
    """Yield sentences on the time and, with the price of a worker per hour, the money."""
    if not record.units:
        yield "No receipt is in the store, so the cost is unknown."
        return
    seconds = record.seconds
    evaluations = sum(unit.evaluations for unit in record.units)
    on_gpu = sum(unit.seconds for unit in record.units if unit.on_gpu)
    kind = "GPU" if on_gpu == seconds else "CPU" if not on_gpu else "worker"
    yield (
        f"{seconds:,.0f} {kind}-seconds ({duration(seconds)}) of computation in "
        f"{counted(len(record.units), 'unit')}, {counted(evaluations, 'forward evaluation')}."
    )
    if kind == "worker":
        yield f"{on_gpu:,.0f} of these seconds are on GPUs."
    candidates = sum(unit.candidates for unit in record.units)
    text = f"{seconds / candidates:,.3g} s for a candidate" if candidates else ""
    # Pairs that are stored without being judged are pairs of the data set, too.
    pairs, kind_of_pair = funnel.in_shards, "kept pair" if funnel.judged is None else "pair"
    if pairs and candidates:
        yield f"{text}, {seconds / pairs:,.3g} s for a {kind_of_pair}."
    elif text:
        yield f"{text}."
    if price is not None:
        total = seconds / 3600 * price
        each = f", and a {kind_of_pair} {total / pairs:,.3g}" if pairs else ""
        yield f"At {price:g} per worker and hour, the computation costs {total:,.2f}{each}."
    yield (
        "Only the computation of committed units counts: not the loading of models, idle workers, "
        "uploads, and attempts that were lost."
    )
