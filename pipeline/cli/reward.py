"""The command ``npd convert-reward``, which converts a published reward to safetensors."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.console import console

rewards = typer.Typer()


@rewards.command("convert-reward")
def convert_reward(
    kind: Annotated[
        str, typer.Argument(help="One of image_reward, hps_v2, pick_score, clip_score, aesthetic.")
    ],
    source: Annotated[Path, typer.Argument(help="Folder with the published files.")],
    out: Annotated[Path, typer.Argument(help="Output folder; use it as the path of the reward.")],
) -> None:
    """Convert the published files of a reward to safetensors, without running code from them."""
    from pipeline.models.rewards.kinds import convert

    with console.status(f"reading {kind}"):
        convert(kind, source, out)
    console.print(f'written; use it with kind = "{kind}", path = "{out}"', soft_wrap=True)
