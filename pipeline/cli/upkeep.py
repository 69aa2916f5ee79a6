"""Commands that maintain an existing data set: gc, select, prune and repair."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any

import typer

from pipeline.cli.arguments import PlanOption, UrlArgument, parse_duration, parse_margin
from pipeline.cli.console import (
    console,
    show,
    show_manifest,
    show_next,
    show_verification,
    version_line,
)
from pipeline.cli.exit_codes import ExitCode
from pipeline.cli.json_output import (
    JsonOption,
    manifest_json,
    show_json,
    unreferenced_json,
)
from pipeline.config.file import load_config
from pipeline.core.errors import UserError
from pipeline.core.escape import for_terminal_line
from pipeline.core.quantities import counted, human_bytes, human_seconds
from pipeline.publish.gc import (
    ReferenceStatus,
    UnreferencedObject,
    amount_of,
    delete_garbage,
    find_unreferenced,
)
from pipeline.storage.heartbeats import store_time
from pipeline.storage.local import LocalStore
from pipeline.storage.open import open_store

_LONGEST_WRITE = timedelta(hours=1)
"""Minimum age of a temporary file before it is deleted; a running writer needs seconds."""


def gc(
    url: UrlArgument,
    older_than: Annotated[
        str, typer.Option(help="Keep objects younger than this, such as 30m or 1d. 0s is safe.")
    ] = "1d",
    delete: Annotated[bool, typer.Option("--delete", help="Delete, instead of listing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List or delete objects that nothing can ever refer to again. Safe while builds run."""
    grace = parse_duration(older_than)
    store = open_store(url)
    # Otherwise a misspelled address would be reported as free of garbage.
    if not any(True for _ in store.list("")):
        raise UserError(f"{store.url}: nothing is stored here; check the address")
    now = store_time(store)
    listed: list[dict[str, Any]] = []

    def garbage() -> Iterator[UnreferencedObject]:
        for found in find_unreferenced(store):
            # A build that runs now, or is resumed later, may still commit a pending object.
            if found.reference is ReferenceStatus.PENDING:
                continue
            is_garbage = found.reference is ReferenceStatus.GARBAGE
            is_young = is_garbage and found.modified > now - grace
            if as_json:
                listed.append({**unreferenced_json(found), "is_too_young": is_young})
            else:
                young = f" (younger than {older_than}: kept)" if is_young else ""
                show(_line(found, now) + young)
            if is_garbage and not is_young:
                yield found

    amount = delete_garbage(store, garbage()) if delete else amount_of(garbage())
    files = None
    if delete and isinstance(store, LocalStore):
        # Even with a grace period of 0 s, a recent temporary file may belong to a running writer.
        files = store.remove_leftovers(max(grace, _LONGEST_WRITE).total_seconds())
    if as_json:
        show_json(
            {
                "is_deleted": delete,
                "garbage_objects": amount.objects,
                "garbage_bytes": amount.num_bytes,
                "temporary_files_deleted": files,
                "objects": listed,
            }
        )
        return
    outcome = "deleted" if delete else "nothing was deleted; use --delete to delete them"
    objects = counted(amount.objects, "object")
    show(f"{objects} of garbage, {human_bytes(amount.num_bytes)}: {outcome}")
    if files is not None:
        show(f"{counted(files, 'temporary file')} of interrupted writers: deleted")


def select(
    url: UrlArgument,
    margin: Annotated[
        list[str], typer.Option(help="Margin of a reward, such as scene=0.1. May be repeated.")
    ],
    plan: PlanOption = None,
    as_json: JsonOption = False,
) -> None:
    """Select pairs with other margins. Writes a new version of a sealed plan, without a GPU."""
    from pipeline.publish.compact import compact_in
    from pipeline.publish.select import select as select_anew

    store = open_store(url)
    margins = dict(map(parse_margin, margin))
    with console.status("selecting pairs"):
        made = select_anew(store, margins, partial(map, partial(compact_in, store)), plan)
    if as_json:
        show_json({"url": store.url, "is_new": made.is_new, **manifest_json(made.manifest)})
        return
    if not made.is_new:
        console.print(f"this selection already exists, as version {made.manifest.version}")
    show_manifest(made.manifest, store.url)
    show_next("npd", "verify", store.url)


def prune(
    url: UrlArgument,
    version: Annotated[
        list[int] | None,
        typer.Option(help="Version to remove. May be repeated. Default: all before the current."),
    ] = None,
    plan: PlanOption = None,
    delete: Annotated[bool, typer.Option("--delete", help="Remove, instead of listing.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List, or permanently remove, versions that a later selection has superseded."""
    from pipeline.publish.prune import find_superseded
    from pipeline.publish.prune import prune as remove

    store = open_store(url)
    found = find_superseded(store, plan, version or ())
    listed = []
    for each in found:
        amount = remove(store, each) if delete else each.amount
        if as_json:
            listed.append(
                {
                    "plan_id": each.version.plan_id,
                    "version": each.version.number,
                    "objects": amount.objects,
                    "bytes": amount.num_bytes,
                }
            )
            continue
        show(
            f"{'removed' if delete else 'superseded'}: version {each.version.number} of plan "
            f"{each.version.plan_id}{version_line(each.version)}; "
            f"{counted(amount.objects, 'object')}, {human_bytes(amount.num_bytes)}"
        )
    if as_json:
        show_json({"is_removed": delete, "versions": listed})
    elif not delete:
        show(f"{counted(len(found), 'version')}: nothing was removed; use --delete to remove them")


def repair(
    url: UrlArgument,
    config: Annotated[
        str | None,
        typer.Option(help="Configuration of the build; needed for units and dropped prompts."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster. Default: RAY_ADDRESS, or a local Ray."),
    ] = None,
) -> None:
    """Rebuild the damaged files of a sealed data set, byte for byte, then verify it."""
    from pipeline.publish.repair import repair as make_again
    from pipeline.publish.verify import verify
    from pipeline.workflows.repair import recompute_on_ray, restore_dropped

    store = open_store(url)
    settings = None if config is None else load_config(config)
    with console.status("rebuilding damaged files"):
        for key in make_again(store, recompute_on_ray(store, settings, address)):
            show(f"rebuilt: {key}")
        for key in restore_dropped(store, settings):
            show(f"rebuilt: {key}")
    with console.status("reading and checking all data"):
        found = verify(store)
    show_verification(found)
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)


def _line(found: UnreferencedObject, now: datetime) -> str:
    age = human_seconds(max(0.0, (now - found.modified).total_seconds()))
    size = human_bytes(found.num_bytes)
    return f"{found.reference}: {for_terminal_line(found.key)}, {size}, {age} old: {found.why}"
