"""Entry point of ``ray job submit``: ``python -m jobs.evaluate --config … --out …``.

The same command as ``npd evaluate``, on the machine where Ray starts the job.
"""

from pipeline.cli import run
from pipeline.commands.evaluate import trials

if __name__ == "__main__":
    run(trials)
