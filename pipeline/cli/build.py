"""The command ``npd build``, which builds a data set or resumes an interrupted build."""

import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import ConfigArgument, LogFileOption, LogFormatOption
from pipeline.cli.console import (
    batch_remark,
    console,
    funnel_line,
    prompt_remarks,
    show_manifest,
)
from pipeline.cli.exit_codes import ExitCode, exit_code_of
from pipeline.cli.logs import logging_of, remark, remark_log, report_error
from pipeline.cli.progress import BuildView, EarlierUnits, Tally, show_progress
from pipeline.cli.stop_signal import StopSignal
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.core.errors import BuildStoppedError, NPDError, UserError
from pipeline.core.log_records import LogFormat
from pipeline.core.quantities import counted
from pipeline.monitor.progress import BuildProgress
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store

if TYPE_CHECKING:
    # Not imported at run time: it imports torch and Ray, which takes seconds.
    from pipeline.workflows.build import BuildContext


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
    log_format: LogFormatOption = "text",
    log_file: LogFileOption = None,
) -> None:
    """Build a data set, or resume an interrupted one. The result has the same bytes either way."""
    from pipeline.workflows.build import open_build, sealed

    context = open_build(
        open_store(out), settings_of(config, workers), add=add, log_format=log_format
    )
    url, plan_id = context.store.url, context.plan.plan_id
    with logging_of(plan_id, log_format, log_file, plan_id=plan_id) as log:
        if found := sealed(context):
            remark("already sealed; nothing to do")
            show_sealed(found, url, log_format)
            return
        resume = _build_command(config, url, workers, add=add)
        show_start(context, log)
        manifest = run_build(context, address, resume=resume, log=log)
        show_sealed(manifest, url, log_format)


def settings_of(config: str, workers: int | None) -> Config:
    """Load a configuration and replace its number of workers, if one is given."""
    settings = load_config(config)
    if workers is None:
        return settings
    # [cluster] is not part of the plan id, so another number of workers resumes the same plan.
    cluster = settings.cluster.model_copy(update={"workers": workers})
    return settings.model_copy(update={"cluster": cluster})


def show_start(context: "BuildContext", log: Path | None) -> None:
    """Print what is computed, and where the log is."""
    plan, url = context.plan, context.store.url
    workers = context.config.cluster.workers
    remark(
        f"plan {plan.plan_id}: {counted(plan.num_candidates, 'candidate')} in "
        f"{counted(plan.num_units, 'unit')}, {counted(workers, 'worker')}"
    )
    for line in prompt_remarks(plan, url):
        remark(line)
    if smaller := batch_remark(context.config.units):
        remark(f"batches {smaller}")
    remark_log(log)


def show_sealed(manifest: Manifest, url: str, log_format: LogFormat) -> None:
    """Print the summary of a sealed plan and the next commands."""
    if log_format == "text":
        show_manifest(manifest, url)
    else:
        remark(f"sealed at {url}: {funnel_line(manifest.funnel)}")
    remark(f"next: npd verify {shlex.quote(url)} && npd report {shlex.quote(url)}")


def run_build(
    context: "BuildContext", address: str | None, *, resume: str, log: Path | None
) -> Manifest:
    """Compute the missing units and seal the plan, with the progress on the console.

    Exit with the code of a signal if one stops the build, after printing the command to resume, and
    with that of the error if it fails, after printing what to look at.
    """
    from pipeline.cluster.ray_session import ray_session
    from pipeline.workflows.build import metrics, new_progress, units_done

    done = units_done(context)
    if sum(done):
        remark(f"resuming: {counted(sum(done), 'unit')} done before")
    progress = new_progress(done)
    stop = StopSignal(_announce_stop)
    try:
        with ExitStack() as opened:
            opened.enter_context(stop)
            # Nothing is computed yet, so there is nothing to save.
            with stop.ending_at_once(lambda: _show_stopped(context, sum(done), resume)):
                opened.enter_context(ray_session(context.config.cluster, address))
            opened.enter_context(metrics(context, progress))
            try:
                return _compute_and_publish(context, done, stop, progress)
            except (BuildStoppedError, KeyboardInterrupt):
                # A unit may have been committed after its last summary.
                _show_stopped(context, sum(units_done(context)), resume)
                raise typer.Exit(stop.exit_code) from None
            finally:
                stop.interrupt_on_first()
    # While Ray ends.
    except KeyboardInterrupt:
        raise typer.Exit(stop.exit_code) from None
    except NPDError as error:
        report_error(error)
        for line in _what_to_look_at(progress, resume, log):
            remark(line)
        # Once workers ran, only wrong input means that the same command fails again.
        is_input = isinstance(error, UserError) or not progress.workers
        raise typer.Exit(exit_code_of(error) if is_input else ExitCode.PROBLEM) from error


def _compute_and_publish(
    context: "BuildContext", done: bytearray, stop: StopSignal, progress: BuildProgress
) -> Manifest:
    from pipeline.cluster.ray_session import ray_failures_named
    from pipeline.workflows.build import compute, monitored, publish, sealed

    plan = context.plan
    earlier = EarlierUnits(context.store, plan.plan_id, bytes(done))
    view = BuildView(plan.num_candidates, plan.unit_size, progress, earlier)
    lines = context.log_format == "json" or not console.is_terminal
    # Inside the monitor, whose heartbeat and notification name the error that ended the build.
    with monitored(context, progress) as monitor, ray_failures_named():
        tally = show_progress(compute(context, done, stop, progress), view, lines=lines)
        # No unit is running any more, so a signal has nothing to wait for.
        stop.interrupt_on_first()
        monitor.seal()
        for line in _other_attempts(tally):
            remark(line)
        if found := sealed(context):
            remark("another run of this build has sealed it")
            monitor.sealed_elsewhere()
            return found
        remark("compacting and sealing")
        manifest = publish(context)
        monitor.sealed(manifest.funnel)
        return manifest


def _other_attempts(tally: Tally) -> Iterator[str]:
    if tally.committed_elsewhere:
        yield (
            f"this run has committed {counted(tally.committed, 'unit')}, and another attempt, such "
            f"as a second run of this build, {tally.committed_elsewhere:,}"
        )
    if tally.different:
        yield (
            f"warning: a second attempt at {counted(tally.different, 'unit')} gave a different "
            "result; the first one is used, and `npd verify` lists both"
        )


def _show_stopped(context: "BuildContext", durable: int, resume: str) -> None:
    saved = f"{durable:,} of {counted(context.plan.num_units, 'unit')} saved"
    remark(f"stopped: {saved} in {context.store.url}; resume with")
    remark(f"  {resume}")


def _what_to_look_at(progress: BuildProgress, resume: str, log: Path | None) -> Iterator[str]:
    """Yield what helps after a failed build: counts, the log and the next command."""
    yield f"{progress.done:,} of {counted(progress.total, 'unit')} saved"
    if progress.failed_attempts:
        failed = ", ".join(f"{n} {kind}" for kind, n in progress.failed_attempts.most_common())
        yield f"failed attempts at units: {failed}"
    if progress.replaced:
        replaced = ", ".join(f"{n} {reason}" for reason, n in progress.replaced.most_common())
        yield f"replaced workers: {replaced}"
    if log is not None:
        yield f"details: {log}"
    yield f"resume with: {resume}"


def _build_command(config: str, url: str, workers: int | None, *, add: bool) -> str:
    options = [] if workers is None else ["--workers", str(workers)]
    return shlex.join(["npd", "build", config, "--out", url, *options, *["--add"] * add])


def _announce_stop() -> None:
    remark(
        "stopping: finished units are saved, unfinished ones are discarded; "
        "press Ctrl-C again to quit now"
    )
