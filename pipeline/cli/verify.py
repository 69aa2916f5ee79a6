"""The command ``npd verify``, which checks every byte of a sealed data set."""

from typing import TYPE_CHECKING, Any

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show_next, show_verification
from pipeline.cli.exit_codes import ExitCode
from pipeline.cli.json_output import JsonOption, show_json, unreferenced_json
from pipeline.storage.layout import Kind
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: it imports torch, which takes seconds.
    from pipeline.publish.verify import Verification


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
        show_next("npd", *_next(found, store.url))
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)


def _next(found: "Verification", url: str) -> list[str]:
    if not found.problems:
        return ["report", url]
    # Units and the list of dropped prompts are computed again, which needs the configuration.
    kinds = {place.kind for problem in found.problems if (place := problem.place)}
    needs_config = kinds & {Kind.UNIT, Kind.RECEIPT, Kind.DROPPED}
    return ["repair", url, *(["--config", "CONFIG"] if needs_config else [])]


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
