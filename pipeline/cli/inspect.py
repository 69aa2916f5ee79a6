"""Commands that read a store and change nothing in it: status and verify."""

import typer

from pipeline.cli.arguments import PlanOption, UnsignedOption, UrlArgument, VersionOption
from pipeline.cli.console import console, show_status, show_verification
from pipeline.cli.exit_codes import ExitCode
from pipeline.core.errors import UserError
from pipeline.storage.open import open_store


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
) -> None:
    """Read a sealed data set back and check every byte. The exit code is 1 if it has problems."""
    from pipeline.publish.verify import verify as check

    store = open_store(url, unsigned=unsigned)
    with console.status("reading and checking all data"):
        found = check(store, plan_id=plan, version=version)
    show_verification(found)
    if found.problems:
        raise typer.Exit(ExitCode.PROBLEM)
