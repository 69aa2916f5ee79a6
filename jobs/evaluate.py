"""The entry point of ``ray job submit``: ``python -m jobs.evaluate --config … --out …``.

The same as ``npd evaluate``, on the machine that Ray starts it on.
"""

from pipeline.cli import run
from pipeline.commands.evaluate import trials

if __name__ == "__main__":
    run(trials)
