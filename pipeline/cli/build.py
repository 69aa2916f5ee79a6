"""The command ``npd build``, which builds a data set or resumes an interrupted build."""

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.arguments import ConfigArgument
from pipeline.cli.console import Tally, console, show_manifest, show_progress, show_prompts
from pipeline.cli.stop_signal import StopSignal
from pipeline.config.file import load_config
from pipeline.config.sections import Config
from pipeline.core.errors import BuildStoppedError
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
) -> None:
    """Build a data set, or resume an interrupted one. The result has the same bytes either way."""
    from pipeline.workflows.build import open_build, sealed

    context = open_build(open_store(out), _settings(config, workers), add=add)
    url = context.store.url
    if found := sealed(context):
        console.print("already sealed; nothing to do")
        show_manifest(found, url)
        return
    manifest, tally = _compute_and_publish(
        context, address, resume=_build_command(config, url, workers, add=add)
    )
    if tally.different:
        console.print(
            f"warning: {tally.different} units gave a different result on a second attempt; the "
            "first result is used, and `npd verify` lists both"
        )
    show_manifest(manifest, url)


def _settings(config: str, workers: int | None) -> Config:
    settings = load_config(config)
    if workers is None:
        return settings
    # [cluster] is not part of the plan id, so another number of workers resumes the same plan.
    cluster = settings.cluster.model_copy(update={"workers": workers})
    return settings.model_copy(update={"cluster": cluster})


def _compute_and_publish(
    context: "BuildContext", address: str | None, *, resume: str
) -> tuple[Manifest, Tally]:
    """Compute the missing units and seal the plan, with progress on the console.

    Exit with the code of a signal if one stops the build, after printing the command to resume.
    """
    from pipeline.cluster.ray_session import ray_session
    from pipeline.workflows.build import (
        compute,
        metrics,
        monitored,
        new_progress,
        publish,
        sealed,
        units_done,
    )

    plan, url = context.plan, context.store.url
    console.print(
        f"plan {plan.plan_id}: {plan.num_candidates} candidates in "
        f"{plan.num_units} units, {context.config.cluster.workers} workers"
    )
    show_prompts(plan, url)
    done = units_done(context)
    if sum(done):
        console.print(f"resuming: {sum(done)} units are done")
    progress = new_progress(done)
    with (
        ray_session(context.config.cluster, address),
        metrics(context, progress),
        StopSignal(_announce_stop) as stop,
    ):
        try:
            with monitored(context, progress) as monitor:
                tally = show_progress(
                    compute(context, done, stop, progress),
                    done=sum(done),
                    total=plan.num_units,
                )
                # No unit is running any more, so a signal has nothing to wait for.
                stop.interrupt_on_first()
                monitor.seal()
                _show_other_attempts(tally)
                if found := sealed(context):
                    console.print("another run of this build has sealed it")
                    monitor.sealed_elsewhere()
                    return found, tally
                with console.status("compacting and sealing"):
                    manifest = publish(context)
                monitor.sealed(manifest.funnel)
                return manifest, tally
        except (BuildStoppedError, KeyboardInterrupt):
            # Count receipts in the store: a unit may have been committed after its last summary.
            durable = sum(units_done(context))
            console.print(
                f"stopped: {durable} of {plan.num_units} units are saved in {url}; resume with\n"
                f"  {resume}",
                soft_wrap=True,
            )
            raise typer.Exit(stop.exit_code) from None


def _show_other_attempts(tally: Tally) -> None:
    if tally.committed_elsewhere:
        console.print(
            f"{tally.committed} units were committed by this run, {tally.committed_elsewhere} by "
            "another attempt, such as a second run of this build"
        )


def _build_command(config: str, url: str, workers: int | None, *, add: bool) -> str:
    options = [] if workers is None else ["--workers", str(workers)]
    return shlex.join(["npd", "build", config, "--out", url, *options, *["--add"] * add])


def _announce_stop() -> None:
    console.print(
        "stopping: finished units are saved, unfinished ones are discarded; "
        "press Ctrl-C again to quit now"
    )
