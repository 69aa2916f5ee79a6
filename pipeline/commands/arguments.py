"""What several commands take on their command line, and how it is read."""

import math
import re
from datetime import timedelta
from typing import Annotated

import typer

from pipeline.errors import UserError

ConfigArgument = Annotated[
    str, typer.Argument(help="A TOML file, or the bare name of one that ships with the package.")
]
UrlArgument = Annotated[str, typer.Argument(help="file:///folder, s3://bucket/prefix or a path.")]

PlanOption = Annotated[
    str | None, typer.Option("--plan", help="Which plan, where several are sealed.")
]
VersionOption = Annotated[
    int | None,
    typer.Option("--version", min=1, help="A version that `npd status` lists; else the current."),
]
UnsignedOption = Annotated[
    bool, typer.Option("--unsigned", help="Read a public bucket without credentials.")
]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """A number with a unit, as ``30m`` or ``1d``. Raises ``UserError``."""
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if match is None:
        raise UserError(f"{text!r} is no duration; give a number with s, m, h or d, as 30m or 1d")
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def parse_margin(text: str) -> tuple[str, float]:
    """A reward and its margin, as ``scene=0.1``. Raises ``UserError``."""
    name, _, number = text.partition("=")
    try:
        margin = float(number)
    except ValueError:
        margin = math.nan
    if not name or not math.isfinite(margin):
        raise UserError(f"{text!r} is no margin; give a reward and a number, as scene=0.1")
    return name, margin
