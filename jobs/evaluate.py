"""Entry point of ``ray job submit``: ``python -m jobs.evaluate --config … --out …``.

The same command as ``npd evaluate``, on the machine where Ray starts the job.
"""

from pipeline.cli.app import run
from pipeline.cli.evaluate import trials

if __name__ == "__main__":
    run(trials)
