"""The command ``npd doctor``, which checks everything that a build needs."""

import os
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.console import console, show
from pipeline.cli.exit_codes import ExitCode
from pipeline.cli.json_output import JsonOption, show_json
from pipeline.core.escape import for_terminal
from pipeline.core.finding import Level

if TYPE_CHECKING:
    from pipeline.core.finding import Finding

_MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.PROBLEM: "PROBLEM"}


def doctor(
    config: Annotated[
        str | None, typer.Argument(help="A TOML file, or the name of a shipped configuration.")
    ] = None,
    out: Annotated[
        str | None, typer.Option(help="Store of the build; some objects are written and deleted.")
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address of a Ray cluster. Default: RAY_ADDRESS.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Check this machine, a configuration, a store and a cluster before a build.

    Run it first on a new cluster. The exit code is 1 if a build would fail.
    """
    # Two attempts instead of six: a store that does not answer is known after seconds. Set before
    # the first client is made.
    os.environ.setdefault("AWS_MAX_ATTEMPTS", "2")
    from pipeline.workflows.doctor import examine

    findings = []
    with console.status("checking"):
        for finding in examine(config, out, address):
            findings.append(finding)
            if not as_json:
                show(_line(finding))
    levels = Counter(finding.level for finding in findings)
    is_ready = not levels[Level.PROBLEM]
    if as_json:
        listed = [{**asdict(each), "remedy": each.remedy or None} for each in findings]
        show_json({"is_ready": is_ready, "findings": listed})
    else:
        show(f"problems: {levels[Level.PROBLEM]}, warnings: {levels[Level.WARNING]}")
    raise typer.Exit(ExitCode.DONE if is_ready else ExitCode.PROBLEM)


def _line(finding: "Finding") -> str:
    lines = f"{_MARKS[finding.level]:<8} {finding.check}: {for_terminal(finding.found)}"
    if finding.remedy:
        lines += f"\n         to do: {finding.remedy}"
    return lines
