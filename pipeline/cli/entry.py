"""Entry point of the command ``npd``.

It imports the other modules inside its function, so that Ctrl-C during their imports, which take a
second, ends the command without a traceback.
"""

import sys


def main() -> None:
    """Run ``npd`` with the arguments of this process."""
    try:
        from pipeline.cli.app import main as run

        run()
    except KeyboardInterrupt:
        # The code is ``ExitCode.INTERRUPTED``, whose module may not be imported yet.
        sys.stderr.write("interrupted\n")
        sys.exit(130)
