"""Entry point of ``ray job submit``: ``python -m jobs.build CONFIG --out URL``.

The same command as ``npd build``, with the same arguments, on the Ray cluster that runs the job.
"""

import sys
from collections.abc import Sequence

import typer

from pipeline.cli.app import run
from pipeline.cli.build import build

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command()(build)


def main(arguments: Sequence[str]) -> None:
    """Run ``npd build``. The older form ``--config FILE`` of its argument is also accepted."""
    run(app, [word.removeprefix("--config=") for word in arguments if word != "--config"])


if __name__ == "__main__":
    main(sys.argv[1:])
