"""The command-line program ``npd``, with the commands build, options, status, verify and report.

The other commands are in the modules beside it. Commands import Ray, torch and the stages inside
their functions, so that ``npd --help`` starts without them.
"""

import json
import logging
import os
import shlex
import sys
from collections.abc import Sequence
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Annotated

import typer
from rich.logging import RichHandler

from pipeline.cli.arguments import (
    ConfigArgument,
    PlanOption,
    UnsignedOption,
    UrlArgument,
    VersionOption,
)
from pipeline.cli.console import (
    console,
    show_manifest,
    show_progress,
    show_prompts,
    show_status,
    show_verification,
)
from pipeline.cli.evaluate import trials
from pipeline.cli.export import exports
from pipeline.cli.init import starters
from pipeline.cli.output import write_output
from pipeline.cli.plan import plans
from pipeline.cli.reward import rewards
from pipeline.cli.upkeep import upkeep
from pipeline.config.file import load_config
from pipeline.errors import BuildStoppedError, NPDError, UserError
from pipeline.storage.open import open_store

# transformers reads this variable when it is imported, so it must be set before any command runs.
# Jobs import this module first for the same reason.
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"npd {package_version('noise-prompt-dataset')}")
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


@app.command()
def build(
    config: ConfigArgument,
    out: Annotated[str, typer.Option(help="Output: file:///folder, s3://bucket/prefix or a path.")],
    workers: Annotated[
        int | None, typer.Option(min=1, help="Number of workers; overrides the configuration.")
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(help="Address of a Ray cluster. Default: RAY_ADDRESS, or a local Ray."),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add this plan to an output that already holds another one."),
    ] = False,
) -> None:
    """Build a data set, or resume an interrupted one. The result has the same bytes either way."""
    from pipeline.cli.stop_signal import StopSignal
    from pipeline.cluster.ray_session import ray_session
    from pipeline.workflows import build as steps

    settings = load_config(config)
    if workers is not None:
        # [cluster] is not part of the plan id, so another number of workers resumes the same plan.
        cluster = settings.cluster.model_copy(update={"workers": workers})
        settings = settings.model_copy(update={"cluster": cluster})
    opened = steps.open_build(open_store(out), settings, add=add)
    if found := steps.sealed(opened):
        console.print("already sealed; nothing to do")
        show_manifest(found, opened.store.url)
        return
    console.print(
        f"plan {opened.plan.plan_id}: {opened.plan.num_candidates} candidates in "
        f"{opened.plan.num_units} units, {settings.cluster.workers} workers"
    )
    show_prompts(opened.plan, opened.store.url)
    done = steps.units_done(opened)
    if sum(done):
        console.print(f"resuming: {sum(done)} units are done")
    with ray_session(settings.cluster, address), StopSignal(_announce_stop) as stop:
        try:
            tally = show_progress(
                steps.compute(opened, done, stop), done=sum(done), total=opened.plan.num_units
            )
            # No unit is running any more, so a signal has nothing to wait for.
            stop.be_quick()
            with console.status("compacting and sealing"):
                manifest = steps.publish(opened)
        except (BuildStoppedError, KeyboardInterrupt):
            # Count receipts in the store: a unit may have been committed after its last summary.
            durable = sum(steps.units_done(opened))
            console.print(
                f"stopped: {durable} of {opened.plan.num_units} units are saved in "
                f"{opened.store.url}; resume with\n"
                f"  {_build_command(config, opened.store.url, workers, add=add)}",
                soft_wrap=True,
            )
            raise typer.Exit(stop.exit_code) from None
    if tally.different:
        console.print(
            f"warning: {tally.different} units gave a different result on a second attempt; the "
            "first result is used, and `npd verify` lists both"
        )
    show_manifest(manifest, opened.store.url)


def _build_command(config: str, url: str, workers: int | None, *, add: bool) -> str:
    options = [] if workers is None else ["--workers", str(workers)]
    return shlex.join(["npd", "build", config, "--out", url, *options, *["--add"] * add])


def _announce_stop() -> None:
    console.print(
        "stopping: finished units are saved, unfinished ones are discarded; "
        "press Ctrl-C again to quit now"
    )


@app.command()
def options(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON Schema instead, for use in an editor.")
    ] = False,
) -> None:
    """Print every configuration setting with its default and its meaning."""
    from pipeline.config.options import config_schema, describe_options

    if schema:
        print(json.dumps(config_schema(), indent=2))
        return
    for line in describe_options():
        print(line)


@app.command()
def status(url: UrlArgument, unsigned: UnsignedOption = False) -> None:
    """Show the progress of every plan in a store, and its sealed versions."""
    from pipeline.workflows.status import status as read_status

    store = open_store(url, unsigned=unsigned)
    plans = read_status(store)
    if not plans:
        raise UserError(f"{store.url}: no plan here; start a build with `npd build`")
    for each in plans:
        show_status(each)


@app.command()
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
        raise typer.Exit(1)


@app.command()
def report(
    url: UrlArgument,
    guidance: Annotated[
        float | None,
        typer.Option(
            help="Also sample with plain guidance at this scale, from the same source noises."
        ),
    ] = None,
    config: Annotated[
        str | None, typer.Option(help="Configuration of the build; --guidance needs its models.")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(help="Also write the picture of sample pairs to this file.")
    ] = None,
    plan: PlanOption = None,
    version: VersionOption = None,
    out: Annotated[
        str | None,
        typer.Option(help="Path or URL for the report. Default: the store of the data set."),
    ] = None,
    unsigned: UnsignedOption = False,
) -> None:
    """Report on a sealed data set: funnel, gains, controls and a picture of sample pairs."""
    from pipeline.storage.success import sealed_plans
    from pipeline.storage.versions import choose_versions
    from pipeline.workflows.report import report_plan

    if (guidance is None) != (config is None):
        raise UserError(
            "--guidance and --config must be given together; --guidance needs the models"
        )
    store = open_store(url, unsigned=unsigned)
    target = store if out is None else open_store(out)
    current = sealed_plans(store, plan)
    settings = None if config is None else load_config(config)
    for sealed, manifest in choose_versions(store, current, version):
        made = report_plan(
            store, manifest, settings, guidance, target=target, is_current=sealed in current
        )
        print(made.text)
        for key in made.keys:
            console.print(f"written: {target.url}/{key}", soft_wrap=True)
        if picture is not None and made.picture is not None:
            write_output(picture, made.picture)


app.add_typer(starters)
app.add_typer(plans)
app.add_typer(upkeep)
app.add_typer(exports)
app.add_typer(trials)
app.add_typer(rewards)


def main() -> None:
    """Run ``npd`` with the arguments of this process."""
    run(app)


def run(command: typer.Typer, arguments: Sequence[str] | None = None) -> None:
    """Run a command with ``arguments``, or with those of this process.

    An ``NPDError`` is printed as one message without a traceback. The exit code is 2 for a
    ``UserError``, 1 for another ``NPDError`` and 130 for Ctrl-C.
    """
    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False)],
    )
    try:
        command(None if arguments is None else list(arguments))
    except NPDError as error:
        console.print(f"error: {error}", style="red", markup=False, soft_wrap=True)
        sys.exit(2 if isinstance(error, UserError) else 1)
    except KeyboardInterrupt:
        console.print("stopped; all finished units are saved, and the same command resumes")
        sys.exit(130)
