"""Commands that look after a data set once it is there: gc, select, prune, repair."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated

import typer

from pipeline.commands.arguments import PlanOption, UrlArgument, parse_duration, parse_margin
from pipeline.commands.console import (
    console,
    human_bytes,
    human_seconds,
    show_manifest,
    show_verification,
    version_line,
)
from pipeline.config.file import load_config
from pipeline.publish.gc import (
    ReferenceStatus,
    UnreferencedObject,
    amount_of,
    delete_garbage,
    find_strays,
)
from pipeline.storage.keys import printable
from pipeline.storage.local import LocalStore
from pipeline.storage.open import open_store

upkeep = typer.Typer()

_LONGEST_WRITE = timedelta(hours=1)
"""A writer that lives has a temporary file for seconds."""


@upkeep.command()
def gc(
    url: UrlArgument,
    older_than: Annotated[
        str, typer.Option(help="Leave what is younger, as 30m or 1d; a courtesy: 0s is safe.")
    ] = "1d",
    delete: Annotated[bool, typer.Option("--delete", help="Delete it, not only list it.")] = False,
) -> None:
    """List, or delete, what nothing in a store can ever refer to again; safe beside builds."""
    now = datetime.now(UTC)
    grace = parse_duration(older_than)
    store = open_store(url)

    def garbage() -> Iterator[UnreferencedObject]:
        for stray in find_strays(store):
            if stray.standing is ReferenceStatus.PENDING:
                continue  # of builds that run, or will be resumed
            is_garbage = stray.standing is ReferenceStatus.GARBAGE
            is_young = is_garbage and stray.modified > now - grace
            print(_line(stray, now) + (f" (younger than {older_than}: left)" if is_young else ""))
            if is_garbage and not is_young:
                yield stray

    if not delete:
        found = amount_of(garbage())
        print(
            f"{found.objects} objects of garbage, {human_bytes(found.num_bytes)}: "
            "nothing was deleted; --delete does it"
        )
        return
    found = delete_garbage(store, garbage())
    print(f"{found.objects} objects of garbage, {human_bytes(found.num_bytes)}: deleted")
    if isinstance(store, LocalStore):
        files = store.remove_leftovers(max(grace, _LONGEST_WRITE).total_seconds())
        print(f"{files} temporary files of writers that broke off: deleted")


@upkeep.command()
def select(
    url: UrlArgument,
    margin: Annotated[
        list[str], typer.Option(help="A reward's margin, as scene=0.1; may be given repeatedly.")
    ],
    plan: PlanOption = None,
) -> None:
    """Keep pairs by other margins: makes a new version of a sealed plan, without a GPU."""
    from pipeline.publish.compact import compact_in
    from pipeline.publish.select import select as select_anew

    store = open_store(url)
    margins = dict(map(parse_margin, margin))
    with console.status("deciding anew"):
        made = select_anew(store, margins, partial(map, partial(compact_in, store)), plan)
    if not made.is_new:
        console.print(f"this selection is there already, as v{made.manifest.version}")
    show_manifest(made.manifest, store.url)


@upkeep.command()
def prune(
    url: UrlArgument,
    version: Annotated[
        list[int] | None,
        typer.Option(help="This version; may be given repeatedly. Else all before the current."),
    ] = None,
    plan: PlanOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove, not only list.")] = False,
) -> None:
    """List, or remove for ever, versions that another selection has superseded."""
    from pipeline.publish.prune import find_superseded
    from pipeline.publish.prune import prune as remove

    store = open_store(url)
    found = find_superseded(store, plan, version or ())
    for each in found:
        amount = remove(store, each) if delete else each.amount
        print(
            f"{'removed' if delete else 'superseded'}: version {each.version.number} of plan "
            f"{each.version.plan_id}{version_line(each.version)}; {amount.objects} objects, "
            f"{human_bytes(amount.num_bytes)}"
        )
    if not delete:
        print(f"{len(found)} versions: nothing was removed; --delete does it")


@upkeep.command()
def repair(
    url: UrlArgument,
    config: Annotated[
        str | None, typer.Option(help="The build's configuration, if units or dropped prompts are.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Ray cluster; else RAY_ADDRESS, else one of our own.")
    ] = None,
) -> None:
    """Make again exactly what is damaged in a sealed data set, then verify it."""
    from pipeline.publish.repair import repair as make_again
    from pipeline.publish.verify import verify
    from pipeline.repair import recompute_on_ray, restore_dropped

    store = open_store(url)
    settings = None if config is None else load_config(config)
    with console.status("looking for damage, and rebuilding"):
        for key in make_again(store, recompute_on_ray(store, settings, address)):
            print(f"rebuilt: {key}")
        for key in restore_dropped(store, settings):
            print(f"rebuilt: {key}")
    with console.status("reading everything back"):
        found = verify(store)
    show_verification(found)
    if found.problems:
        raise typer.Exit(1)


def _line(stray: UnreferencedObject, now: datetime) -> str:
    age = human_seconds(max(0.0, (now - stray.modified).total_seconds()))
    size = human_bytes(stray.num_bytes)
    return f"{stray.standing}: {printable(stray.key)}, {size}, {age} old: {stray.why}"
