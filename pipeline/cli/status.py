"""The command ``npd status``: progress of the plans in a store, for people and for scripts."""

from collections.abc import Iterator
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.arguments import UnsignedOption, UrlArgument, parse_duration
from pipeline.cli.console import console, show, version_line
from pipeline.cli.exit_codes import ExitCode
from pipeline.cli.json_output import JsonOption, estimate_json, funnel_json, show_json
from pipeline.core.errors import RetryableStoreError, UserError
from pipeline.core.escape import for_terminal_line
from pipeline.core.quantities import counted, human_seconds
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: it imports numpy, which `npd --help` does not need.
    from pipeline.evaluate.progress import Cost, Pace, Tally
    from pipeline.storage.heartbeats import StoredHeartbeat
    from pipeline.workflows.status import PlanStatus, StoreStatus

_REASONS_SHOWN = 6
"""Number of reasons that are shown of rejections and of failures, the most frequent ones."""
_DAMAGED_SHOWN = 5


def status(
    url: UrlArgument,
    price: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1e9,
            help="Price of a worker with its GPU per hour. Default: that of the build.",
        ),
    ] = None,
    watch: Annotated[
        float | None,
        typer.Option(
            min=1, help="Show it again every N seconds, until everything is sealed.", metavar="N"
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option("--exact", help="Read all receipts. Default: up to 2000 of a plan."),
    ] = False,
    stalled_after: Annotated[
        str | None,
        typer.Option(
            help="Time without a commit after which a build is stalled, such as 30m. Default: 4 "
            "times the slowest unit, at least 15m, and 1h before the first commit."
        ),
    ] = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the progress of every plan in a store, and its sealed versions.

    The exit code is 0 if everything is sealed, 3 if a build is in progress, 4 if one is stalled,
    and 1 if a plan cannot be read. With --watch, it is that of the last time.
    """
    from pipeline.workflows.status import StatusReader

    store = open_store(url, unsigned=unsigned)
    limit = None if stalled_after is None else parse_duration(stalled_after).total_seconds()
    reader = StatusReader(store, is_exact=exact, stalled_after=limit)
    is_first = True
    while True:
        try:
            found = reader.read()
        # Somebody who watches for days does not want to start again after an outage.
        except RetryableStoreError as error:
            if watch is None or is_first:
                raise
            console.print(f"{error}; trying again")
            sleep(watch)
            continue
        if not found.plans and not found.problems:
            raise UserError(f"{store.url}: no plan here; start a build with `npd build`")
        if watch is not None and console.is_terminal and not as_json:
            console.clear()
        if as_json:
            show_json(_json(found, price))
        else:
            show("\n".join(_lines(found, price)))
        code = _exit_code(found)
        if watch is None or code is ExitCode.DONE:
            raise typer.Exit(code)
        is_first = False
        sleep(watch)


def _exit_code(found: "StoreStatus") -> ExitCode:
    from pipeline.evaluate.progress import State

    states = {plan.state for plan in found.plans}
    if found.problems:
        return ExitCode.PROBLEM
    if State.STALLED in states:
        return ExitCode.STALLED
    return ExitCode.IN_PROGRESS if State.IN_PROGRESS in states else ExitCode.DONE


def _lines(found: "StoreStatus", price: float | None) -> Iterator[str]:
    for problem in found.problems:
        yield f"damaged: {for_terminal_line(str(problem))}; `npd repair` repairs it"
    for plan in found.plans:
        share = plan.units_done / plan.plan.num_units if plan.plan.num_units else 1.0
        yield (
            f"plan {plan.plan.plan_id}: {plan.units_done:,} of "
            f"{counted(plan.plan.num_units, 'unit')} ({share:.0%}), "
            f"{plan.state}{plan.reason and f': {plan.reason}'}"
        )
        for version in plan.versions:
            yield f"  version {version.number}{version_line(version)}"
        for name, text in _rows(plan, price):
            yield f"  {name:<14}{text}"
        if not plan.is_listed:
            yield (
                "  these credentials may not list the store; other plans and versions are not shown"
            )


def _rows(plan: "PlanStatus", price: float | None) -> Iterator[tuple[str, str]]:
    for each in plan.builds:
        yield "build", _build_line(each)
    if plan.units_in_flight is not None:
        yield "in flight", counted(plan.units_in_flight, "unit")
    if plan.last_build is not None and not plan.sealed:
        error = plan.last_build.heartbeat.error
        yield "last build", f"on {for_terminal_line(plan.last_build.heartbeat.host)}"
        if error:
            yield "error", for_terminal_line(error)
    if plan.pace is not None:
        yield "pace", _pace(plan.pace)
        if plan.pace.seconds_left is not None:
            yield "time left", f"about {human_seconds(plan.pace.seconds_left)}"
    if plan.seconds_since_commit is not None and not plan.sealed:
        yield "last commit", f"{human_seconds(plan.seconds_since_commit)} ago"
    yield from _counts(plan)
    yield from _cost(plan, price)
    if plan.disagreements:
        yield "disagreements", f"{plan.disagreements}: units that gave two results; `npd verify`"
    if plan.damaged:
        yield "unreadable", f"{counted(len(plan.damaged), 'receipt')}, such as"
        for damaged in plan.damaged[:_DAMAGED_SHOWN]:
            yield "", for_terminal_line(str(damaged))[:300]


def _pace(pace: "Pace") -> str:
    from pipeline.evaluate.progress import WINDOW_S

    window = human_seconds(pace.window_seconds)
    # A build that was resumed a moment ago is not slow.
    if not pace.candidates_per_second and pace.window_seconds < WINDOW_S:
        return f"not known yet; nothing was committed in the last {window}"
    return f"{pace.candidates_per_second:.3g} candidates/s in the last {window}"


def _build_line(each: "StoredHeartbeat") -> str:
    beat = each.heartbeat
    text = (
        f"{for_terminal_line(beat.host)}, process {beat.pid}: {beat.phase} for "
        f"{human_seconds(beat.seconds)}, {beat.workers_ready} of "
        f"{counted(beat.workers, 'worker')} ready"
    )
    failures = beat.failures_in_a_row
    return f"{text}, {counted(failures, 'failure')} in a row" if failures else text


def _counts(plan: "PlanStatus") -> Iterator[tuple[str, str]]:
    tally, share = plan.tally, plan.tally.kept_share()
    if share is None:
        return
    part = "" if tally.units == plan.units_done else f", in {tally.units:,} of the receipts"
    yield (
        "kept",
        f"{tally.kept:,} of {counted(tally.judged, _judged_name(tally))}, {share.value:.1%} "
        f"[{share.low:.1%}, {share.high:.1%}]{part}",
    )
    if tally.rejected:
        yield "rejected", _reasons(tally.rejected.most_common(), tally.candidates)
    yield "failed", _reasons(tally.failed.most_common(), tally.candidates) or f"none{part}"


def _judged_name(tally: "Tally") -> str:
    return "candidate" if tally.judged == tally.candidates else "judged candidate"


def _reasons(counts: list[tuple[str, int]], candidates: int) -> str:
    shown = [
        f"{count:,} by {for_terminal_line(reason)[:80]} ({count / candidates:.2%})"
        for reason, count in counts[:_REASONS_SHOWN]
    ]
    more = len(counts) - _REASONS_SHOWN
    return ", ".join([*shown, *([counted(more, "more reason")] if more > 0 else [])])


def _cost(plan: "PlanStatus", price: float | None) -> Iterator[tuple[str, str]]:
    tally = plan.tally
    if not tally.units:
        return
    hours = tally.worker_seconds / tally.units * plan.units_done / 3600
    about = "" if tally.units == plan.units_done else "about "
    devices = ", ".join(for_terminal_line(name)[:60] for name, _ in tally.devices.most_common(3))
    yield "computed", f"{about}{hours:.3g} worker-hours on {devices}"
    cost = _cost_of(plan, price)
    if cost is not None:
        pair = "" if cost.per_kept_pair is None else f", {cost.per_kept_pair:.3g} a kept pair"
        left = "" if plan.sealed else f", about {cost.left:.2f} for the remaining units"
        yield "cost", f"{about}{cost.spent:.2f} so far{pair}{left}"


def _cost_of(plan: "PlanStatus", price: float | None) -> "Cost | None":
    from pipeline.evaluate.progress import cost_of

    if price is None:
        known = [*plan.builds, *([plan.last_build] if plan.last_build else [])]
        price = next((each.heartbeat.price_per_hour for each in known), None)
    if price is None:
        return None
    remaining = plan.plan.num_units - plan.units_done
    return cost_of(plan.tally, plan.units_done, remaining, price)


def _json(found: "StoreStatus", price: float | None) -> dict[str, Any]:
    return {
        "exit_code": _exit_code(found),
        "problems": list(map(str, found.problems)),
        "plans": [_plan_json(plan, price) for plan in found.plans],
    }


def _plan_json(plan: "PlanStatus", price: float | None) -> dict[str, Any]:
    tally, pace, cost = plan.tally, plan.pace, _cost_of(plan, price)
    return {
        "plan_id": plan.plan.plan_id,
        "state": plan.state.replace(" ", "_"),
        "reason": plan.reason or None,
        "is_listed": plan.is_listed,
        "units": plan.plan.num_units,
        "units_done": plan.units_done,
        "units_in_flight": plan.units_in_flight,
        "candidates": plan.plan.num_candidates,
        "seconds_since_commit": plan.seconds_since_commit,
        "window_seconds": pace and pace.window_seconds,
        "candidates_per_second": pace and pace.candidates_per_second,
        "seconds_left": pace and pace.seconds_left,
        "receipts_read": tally.units,
        "receipts_unreadable": len(plan.damaged),
        "candidates_read": tally.candidates,
        "judged_read": tally.judged,
        "kept_read": tally.kept,
        "kept_share": estimate_json(tally.kept_share()),
        "rejected": tally.rejected,
        "failed": tally.failed,
        "worker_seconds_read": tally.worker_seconds,
        "cost": cost and cost.spent,
        "cost_per_kept_pair": cost and cost.per_kept_pair,
        "cost_left": cost and cost.left,
        "disagreements": plan.disagreements,
        "builds": [{**_heartbeat_json(each), "is_alive": True} for each in plan.builds]
        + [
            {**_heartbeat_json(each), "is_alive": False}
            for each in [plan.last_build]
            if each is not None
        ],
        "versions": [
            {
                "version": version.number,
                "is_current": version.is_current,
                "is_removed": version.is_removed,
                "damage": version.damage or None,
                "funnel": version.manifest and funnel_json(version.manifest.funnel),
                "selection": version.manifest and version.manifest.selection,
            }
            for version in plan.versions
        ],
    }


def _heartbeat_json(each: "StoredHeartbeat") -> dict[str, Any]:
    return {**each.heartbeat.model_dump(exclude={"plan_id"}), "received": each.received}
