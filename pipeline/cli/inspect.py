"""Commands that read a store and change nothing in it: status and verify."""

from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show_status, show_verification
from pipeline.cli.exit_codes import ExitCode
from pipeline.cli.json_output import JsonOption, show_json, unreferenced_json
from pipeline.core.errors import UserError
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: it imports torch, which takes seconds.
    from pipeline.publish.verify import Verification


def status(url: UrlArgument, unsigned: UnsignedOption = False) -> None:
    """Show the progress of every plan in a store, and its sealed versions."""
    from pipeline.workflows.status import status as read_status

    store = open_store(url, unsigned=unsigned)
    plans = read_status(store)
    if not plans:
        raise UserError(f"{store.url}: no plan here; start a build with `npd build`")
    for each in plans:
        show_status(each)


def verify(
    url: UrlArgument,
    plan: PlanOption = None,
    version: VersionOption = None,
    unsigned: UnsignedOption = False,
    as_json: JsonOption = False,
) -> None:
    """Read a sealed data set back and check every byte. The exit code is 1 if it has problems."""
    from pipeline.publish.verify import verify as check

    store = open_store(url, unsigned=unsigned)
    with console.status("reading and checking all data"):
        found = check(store, plan_id=plan, version=version)
    if as_json:
        show_json(_verification_json(found))
    else:
        show_verification(found)
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)


def _verification_json(found: "Verification") -> dict[str, Any]:
    return {
        "plans": found.manifests,
        "units": found.units,
        "candidates": found.candidates,
        "shards": found.shards,
        "pairs": found.pairs,
        "bytes": found.num_bytes,
        "problems": found.problems,
        "disagreements": found.disagreements,
        "orphans": list(map(unreferenced_json, found.orphans)),
        "foreign": list(map(unreferenced_json, found.foreign)),
        # Orphans, disagreements and foreign files are unknown without a listing.
        "not_listed": found.not_listed or None,
    }
