"""The bill of ``npd plan``: every judging policy with its hours, money, pairs and requests."""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from pipeline.core.errors import UserError
from pipeline.core.quantities import human_bytes

if TYPE_CHECKING:
    from pipeline.config.plan import Plan
    from pipeline.evaluate.bill import Requests, Total


@dataclass(frozen=True, kw_only=True)
class GpuSpeed:
    """Seconds of one evaluation and of one image on a kind of GPU."""

    name: str
    evaluation_seconds: float
    image_seconds: float
    """Seconds for decoding an image, and for scoring it if that is known."""


@dataclass(frozen=True, kw_only=True)
class BillOptions:
    """Options of the bill: prices, and the expected share of kept pairs."""

    gpu: str | None
    """Kind of GPU; None for every known one."""
    price: float | None
    """Price of a GPU-hour, in any currency."""
    budget: float | None
    """Money to spend, in the currency of ``price``."""
    kept_share: float
    """Expected share of judged candidates that is kept."""


def chosen_speeds(speeds: list[GpuSpeed], gpu: str | None) -> list[GpuSpeed]:
    """Return the speeds of a kind of GPU. Raises ``UserError`` if there are none."""
    if gpu is None:
        return speeds
    found = [
        speed for speed in speeds if gpu.lower() in speed.name.lower().replace(",", "").split()
    ]
    if not found:
        known = ", ".join(speed.name for speed in speeds) or "none for this model"
        raise UserError(f"--gpu {gpu}: no speed is known; there are {known}")
    return found


def totals(plan: "Plan", speeds: list[GpuSpeed], options: BillOptions) -> "list[Total]":
    """Return the bill of each policy on each kind of GPU."""
    from pipeline.evaluate.bill import Total, bills

    return [
        Total(
            bill=bill,
            gpu=speed.name,
            candidates=plan.num_candidates,
            seconds_per_candidate=bill.gpu_seconds(speed.evaluation_seconds, speed.image_seconds),
            price=options.price,
        )
        for bill in bills(plan, options.kept_share)
        for speed in speeds
    ]


def bill_lines(
    plan: "Plan", pair_bytes: int, found: "list[Total]", options: BillOptions
) -> Iterator[str]:
    """Yield the bill as lines of text."""
    from pipeline.evaluate.bill import bills, requests_of
    from pipeline.evaluate.document import Table, markdown_table

    yield ""
    yield f"If {options.kept_share:.0%} of the judged candidates are kept (--kept-share):"
    yield ""
    budget = [] if options.budget is None else [f"pairs for {options.budget:g}"]
    header = [
        "judging",
        "GPU",
        "evaluations",
        "pairs",
        "per pair",
        "GPU-hours",
        "cost",
        "of 1,000 pairs",
        *budget,
    ]
    rows = []
    for total in found:
        buys = None if options.budget is None else total.pairs_for(options.budget)
        rows.append(
            [
                total.bill.name + (" (this plan)" if total.bill.is_planned else ""),
                total.gpu,
                f"{total.bill.evaluations:.4g}",
                f"{total.pairs:,.0f}",
                f"{total.bill.evaluations / total.bill.pairs:.3g}" if total.bill.pairs else "-",
                f"{total.gpu_hours:,.2f}",
                _money(total.cost),
                _money(total.cost_per_thousand_pairs),
                *([] if options.budget is None else ["-" if buys is None else f"{buys:,}"]),
            ]
        )
    yield from markdown_table(Table(header, rows)).splitlines()
    yield ""
    pairs = plan.num_candidates * bills(plan, options.kept_share)[0].pairs
    requests = requests_of(plan, pairs, pair_bytes)
    copies = 1 + len(plan.settings.output.formats)
    yield (
        f"this plan stores about {human_bytes(round(pairs * pair_bytes) * copies)}, in units and "
        f"in shards, with {requests.writes:,} PUT and {requests.reads:,} GET requests "
        f"(${requests.dollars:,.2f} at Amazon's list price)"
    )
    share, units = plan.settings.judging.share, plan.settings.units
    if share is not None and units.size * share < units.largest_batch:
        size = ceil(units.largest_batch / share)
        yield (
            f"a unit of {units.size} has {units.size * share:.3g} judged candidates on average, in "
            f"batches of up to {units.largest_batch}; units.size = {size} fills a batch"
        )
    if options.budget is not None and options.price is None:
        yield "--budget needs the price of a GPU-hour (--price, or [cluster] price_per_gpu_hour)"


def bill_json(
    plan: "Plan", pair_bytes: int, found: "list[Total]", options: BillOptions
) -> dict[str, Any]:
    """Return the bill for ``show_json``."""
    from pipeline.evaluate.bill import bills, requests_of

    pairs = plan.num_candidates * bills(plan, options.kept_share)[0].pairs
    return {
        "kept_share_expected": options.kept_share,
        "policies": [_total_json(total, options) for total in found],
        "requests": _requests_json(requests_of(plan, pairs, pair_bytes)),
    }


def _total_json(total: "Total", options: BillOptions) -> dict[str, Any]:
    return {
        "policy": "all" if total.bill.share is None else "sample",
        "share": total.bill.share,
        "is_planned": total.bill.is_planned,
        "gpu": total.gpu,
        "evaluations_per_candidate": total.bill.evaluations,
        "pairs": total.pairs,
        "gpu_seconds": total.gpu_hours * 3600,
        "cost": total.cost,
        "cost_per_thousand_pairs": total.cost_per_thousand_pairs,
        "pairs_for_budget": None if options.budget is None else total.pairs_for(options.budget),
    }


def _requests_json(requests: "Requests") -> dict[str, Any]:
    return {"writes": requests.writes, "reads": requests.reads, "dollars": requests.dollars}


def _money(amount: float | None) -> str:
    return "-" if amount is None else f"{amount:,.2f}"
