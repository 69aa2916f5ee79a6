"""The command ``npd init``, which copies a shipped configuration."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import console
from pipeline.config.file import bundled_configs
from pipeline.config.starter import starter_text
from pipeline.errors import UserError
from pipeline.storage.durable import atomic_write

starters = typer.Typer()


@starters.command()
def init(
    name: Annotated[
        str, typer.Argument(help=f"A shipped configuration: {', '.join(bundled_configs())}.")
    ],
    file: Annotated[
        Path | None, typer.Argument(help="The file to write. Default: standard output.")
    ] = None,
) -> None:
    """Copy a shipped configuration as a starting point, as in `npd init sdxl my.toml`."""
    text = starter_text(name)
    if file is None:
        print(text, end="")
        return
    if file.exists():
        raise UserError(f"{file} already exists; choose another name")
    atomic_write(file, [text.encode()])
    console.print(f"written: {file}; next: npd plan {file}", soft_wrap=True)
