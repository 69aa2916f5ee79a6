"""The command-line program ``npd``: its commands, logging, errors and exit codes.

Each command is a function in a module of this folder. Commands import Ray, torch and the stages
inside their functions, so that ``npd --help`` starts without them.
"""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version as package_version
from typing import Annotated

import typer

from pipeline.cli.build import build
from pipeline.cli.console import console, show
from pipeline.cli.doctor import doctor
from pipeline.cli.evaluate import evaluate
from pipeline.cli.exit_codes import ExitCode, exit_code_of
from pipeline.cli.export import export
from pipeline.cli.json_output import show_json_error, wants_json
from pipeline.cli.judge import judge
from pipeline.cli.logs import ConsoleHandler
from pipeline.cli.plan import plan
from pipeline.cli.prepare import convert_reward, init, options
from pipeline.cli.report import report
from pipeline.cli.status import status
from pipeline.cli.upkeep import gc, prune, repair, select
from pipeline.cli.verify import verify
from pipeline.core.errors import NPDError
from pipeline.storage.local_errors import machine_error

# transformers reads this variable when it is imported, so it must be set before any command runs.
# Jobs import this module first for the same reason.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        show(f"npd {package_version('noise-prompt-dataset')}")
        raise typer.Exit


@app.callback()
def npd(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Build Noise Prompt Datasets: golden noise for diffusion models."""


# `npd --help` lists the commands in this order.
for command in (
    *(init, options, convert_reward, doctor),
    *(plan, build, judge, status, verify, report, evaluate, export),
    *(select, repair, gc, prune),
):
    app.command()(command)


def main() -> None:
    """Run ``npd`` with the arguments of this process."""
    run(app)


@contextmanager
def _machine_errors() -> Iterator[None]:
    """Raise a ``StoreError`` for a full disk, a missing permission or too many open files."""
    try:
        yield
    except OSError as error:
        found = machine_error(error)
        if found is None:
            raise
        raise found from error


def run(command: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a command with ``arguments``, or with those of this process.

    Always raises ``SystemExit``, with an ``ExitCode``. An ``NPDError`` is printed as one message
    without a traceback.
    """
    logging.basicConfig(level=logging.WARNING, handlers=[ConsoleHandler()])
    try:
        with _machine_errors():
            command(None if arguments is None else list(arguments))
    except NPDError as error:
        if wants_json(arguments):
            show_json_error(str(error), exit_code_of(error))
        if not error.is_logged:
            console.print(f"error: {error}", style="red", soft_wrap=True)
        sys.exit(exit_code_of(error))
    except SystemExit as ended:
        # Commands raise other codes and errors, so this is from the parser of the arguments.
        if ended.code == ExitCode.NOT_TRIED and wants_json(arguments):
            show_json_error(
                "the arguments are wrong; standard error has the details", ExitCode.NOT_TRIED
            )
        raise
