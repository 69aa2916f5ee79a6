"""Arguments and options that several commands share, and their parsers."""

import math
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from pipeline.core.errors import UserError
from pipeline.core.log_records import LogFormat

ConfigArgument = Annotated[
    str, typer.Argument(help="A TOML file, or the name of a shipped configuration.")
]
UrlArgument = Annotated[
    str, typer.Argument(help="Data set: file:///folder, s3://bucket/prefix or a path.")
]

PlanOption = Annotated[
    str | None, typer.Option("--plan", help="Id of the plan, if several are sealed.")
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="A version listed by `npd status`. Default: current."),
]
UnsignedOption = Annotated[
    bool, typer.Option("--unsigned", help="Read a public bucket without credentials.")
]

LogFormatOption = Annotated[
    LogFormat, typer.Option(help="Format of the log; of a build, also in its workers.")
]
LogFileOption = Annotated[
    Path | None,
    typer.Option(help="File for details. Default: one in ~/.local/state/noise-prompt-dataset."),
]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Parse a number with a unit, such as ``30m`` or ``1d``. Raise ``UserError`` if invalid."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise UserError(
            f"{text!r} is not a duration; give a number with s, m, h or d, such as 30m or 1d"
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_margin(text: str) -> tuple[str, float]:
    """Parse a reward and its margin, such as ``scene=0.1``. Raise ``UserError`` if invalid."""
    name, _, number = text.partition("=")
    # float() also accepts "nan" and "inf", so both error cases are rejected by one check below.
    try:
        margin = float(number)
    except ValueError:
        margin = math.nan
    if not name or not math.isfinite(margin):
        raise UserError(f"{text!r} is not a margin; give a reward and a number, such as scene=0.1")
    return name, margin
