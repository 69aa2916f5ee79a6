"""The entry point of ``ray job submit``: ``python -m jobs.build --config … --out …``.

The same as ``npd build``, on the Ray cluster that runs the job.
"""

from typing import Annotated

import typer

from pipeline.cli import build, run


def job(
    config: Annotated[str, typer.Option(help="A TOML file, or the name of a bundled one.")],
    out: Annotated[str, typer.Option(help="Where to: file:///folder, s3://bucket/prefix, a path.")],
    workers: Annotated[int | None, typer.Option(min=1, help="In place of the configured.")] = None,
    add: Annotated[bool, typer.Option("--add", help="Add this plan beside another one.")] = False,
) -> None:
    """Build a data set, or resume one; the same command ends in the same bytes."""
    build(config, out, workers=workers, add=add)


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(job)
    run(app)
