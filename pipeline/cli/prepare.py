"""Commands to run before a build: init, options and convert-reward."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import console, show
from pipeline.cli.outputs import check_new_output, check_output_folder
from pipeline.config.file import bundled_configs, starter_text
from pipeline.storage.durable import atomic_write


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
        show(text, end="")
        return
    check_new_output(file)
    folder = "" if file.parent.exists() else f", in the new folder {file.parent}"
    atomic_write(file, [text.encode()])
    console.print(f"written: {file}{folder}; next: npd plan {file}", soft_wrap=True)


def options(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print a JSON Schema instead, for use in an editor.")
    ] = False,
) -> None:
    """Print every configuration setting with its default and its meaning."""
    from pipeline.config.options import config_schema, describe_options

    if schema:
        show(json.dumps(config_schema(), indent=2))
        return
    for line in describe_options():
        show(line)


def convert_reward(
    kind: Annotated[
        str, typer.Argument(help="One of image_reward, hps_v2, pick_score, clip_score, aesthetic.")
    ],
    source: Annotated[Path, typer.Argument(help="Folder with the published files.")],
    out: Annotated[Path, typer.Argument(help="Output folder; use it as the path of the reward.")],
) -> None:
    """Convert the published files of a reward to safetensors, without running code from them."""
    from pipeline.models.rewards.kinds import convert

    check_output_folder(out)
    with console.status(f"reading {kind}"):
        convert(kind, source, out)
    console.print(f'written; use it with kind = "{kind}", path = "{out}"', soft_wrap=True)
