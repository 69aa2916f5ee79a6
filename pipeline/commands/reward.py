"""The command that makes safetensors of a published reward: convert-reward."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.commands.console import console

rewards = typer.Typer()


@rewards.command("convert-reward")
def convert_reward(
    kind: Annotated[
        str, typer.Argument(help="image_reward, hps_v2, pick_score, clip_score or aesthetic.")
    ],
    source: Annotated[Path, typer.Argument(help="Folder with the published files.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, which is then the reward's path.")],
) -> None:
    """Turn the published files of a reward into safetensors, once; nothing in them is run."""
    from pipeline.models.rewards.convert import convert

    with console.status(f"reading {kind}"):
        convert(kind, source, out)
    console.print(f'written; use it with kind = "{kind}", path = "{out}"', soft_wrap=True)
