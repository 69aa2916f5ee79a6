"""``python -m tests.faults.real.soak``: faults of real processes for a chosen time.

Prints every fault and a summary. The exit status is 1 if anything was lost, duplicated or
different, or took too long.
"""

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.faults.real.build_process import write_config
from tests.faults.real.campaign import Campaign
from tests.faults.real.fault_schedule import every_kind, strikes
from tests.faults.real.network import network
from tests.faults.real.rig import Rig
from tests.faults.real.tally import Tally

NUM_NODES = 2
NUM_UNITS = 40
UNIT_SIZE = 4


def soak(folder: Path, *, seconds: float, seed: int, namespaces: bool = True) -> Tally:
    """Inject faults for ``seconds``. ``folder`` must be empty and have a short path."""
    config = write_config(folder, num_units=NUM_UNITS, unit_size=UNIT_SIZE, workers=NUM_NODES)
    with network(namespaces=namespaces) as made:
        _print(f"seed {seed}, {NUM_NODES} nodes; {made.note}")
        with Rig(folder, made, num_nodes=NUM_NODES) as rig:
            faults = every_kind(links=rig.head.place.link is not None)
            return Campaign(rig, config, _print).run(strikes(seed, faults), seconds)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.real.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="duration of the faults (600)")
    parser.add_argument("--seed", type=int, default=1, help="decides the order of the faults (1)")
    parser.add_argument(
        "--loopback", action="store_true", help="use no network namespaces, so cut no links"
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _raise_exit)  # so that all processes are stopped
    with tempfile.TemporaryDirectory(prefix="npd-", ignore_cleanup_errors=True) as folder:
        tally = soak(
            Path(folder),
            seconds=options.seconds,
            seed=options.seed,
            namespaces=not options.loopback,
        )
    problems = tally.all_problems()
    _print("")
    for line in (*tally.lines(), *(f"wrong: {problem}" for problem in problems)):
        _print(line)
    return 1 if problems else 0


def _print(text: str) -> None:
    print(text, flush=True)


def _raise_exit(signum: int, frame: object) -> None:
    raise SystemExit(128 + signum)


if __name__ == "__main__":
    sys.exit(main())
