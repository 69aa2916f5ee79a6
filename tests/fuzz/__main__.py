"""Read mutated data sets with every reader and command: ``python -m tests.fuzz --sets 2000``.

``--kind`` mutates other things that somebody else made: models, rewards, networks, prompts.

A command over data that somebody else made must end with a result, a finding or an ``NPDError``. A
signal, a hang, a traceback, too much memory, a control character in the output and a file written
outside of the store are faults. They are printed with the seed of their set, so that
``--seed N --sets 1`` repeats one.
"""

import argparse
import math
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.attempts import ATTEMPTS, MEMORY, Observed, Outcome, import_once, observe
from tests.fuzz.guest_mutations import mutate as mutate_guest
from tests.fuzz.guests import GUESTS, Guest
from tests.fuzz.mutations import mutate
from tests.fuzz.stores import canary_is_intact, in_a_child, new_place, sealed_store

_COMMANDS_PER_SET = 5


def main() -> int:
    """Run the sets of the arguments and print the counts; return 1 if there was a fault."""
    parser = argparse.ArgumentParser(description="Read mutated data sets.")
    parser.add_argument("--kind", choices=["stores", *GUESTS], nargs="+", default=["stores"])
    parser.add_argument("--seed", type=int, default=1, help="seed of the first set")
    parser.add_argument("--sets", type=int, default=200, help="number of mutated sets of a kind")
    parser.add_argument("--commands", type=int, default=_COMMANDS_PER_SET, help="a set; 0 is all")
    parser.add_argument("--seconds", type=float, default=math.inf, help="time for all sets")
    parser.add_argument("--base", type=Path, help="sealed store to mutate; by default a new one")
    arguments = parser.parse_args()
    deadline = time.monotonic() + arguments.seconds
    import_once()
    faults = 0
    for kind in arguments.kind:
        with tempfile.TemporaryDirectory() as folder:
            faults += run_kind(kind, Path(folder), arguments, deadline)
    return 1 if faults else 0


def run_kind(kind: str, folder: Path, arguments: argparse.Namespace, deadline: float) -> int:
    """Run the sets of one kind in a folder and print the counts. Return the number of faults."""
    guest = GUESTS.get(kind)
    make = sealed_store if guest is None else guest_folder(guest)
    is_given = guest is None and arguments.base is not None
    base = arguments.base if is_given else in_a_child(make, folder / "base")
    total, peak, faults, sets = Counter[Outcome](), 0, 0, 0
    for seed in range(arguments.seed, arguments.seed + arguments.sets):
        if time.monotonic() > deadline:
            break
        sets += 1
        for name, mutation, seen in run_set(base, folder / "set", seed, arguments.commands, guest):
            total[seen.outcome] += 1
            peak = max(peak, seen.peak_bytes)
            if seen.outcome.is_fault:
                faults += 1
                print(
                    f"seed {seed}: {name}: {seen.outcome}: {seen.detail}\n    {mutation}",
                    flush=True,
                )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in sorted(total.items()))
    print(
        f"{kind}: {sets} sets from seed {arguments.seed}: {counts}; peak {peak >> 20} MiB",
        flush=True,
    )
    return faults


def run_set(
    base: Path, place: Path, seed: int, commands: int, guest: Guest | None = None
) -> list[tuple[str, str, Observed]]:
    """Mutate a copy of ``base``, a store or a guest's folder.

    Return each command with the mutation and the outcome.
    """
    rng = random.Random(seed)
    store = new_place(base, place)
    mutation = _mutated(store, seed, guest)
    attempts = ATTEMPTS if guest is None else guest.attempts
    count = len(attempts) if commands == 0 else min(commands, len(attempts))
    names = rng.sample(list(attempts), count)
    results = []
    for name in names:
        shutil.rmtree(place / "out", ignore_errors=True)
        seen = observe(attempts[name], store)
        if not canary_is_intact(place):
            seen = Observed(Outcome.ESCAPE, "a file outside of the store was changed")
        results.append((name, mutation, seen))
    return results


def guest_folder(guest: Guest) -> Callable[[Path], Path]:
    """Return a function that writes the intact folder of a guest."""

    def make(folder: Path) -> Path:
        folder.mkdir()
        guest.make(folder)
        return folder

    return make


def _mutated(store: Path, seed: int, guest: Guest | None) -> str:
    """Mutate in a forked process: pyarrow's threads must not exist where commands are forked."""
    description = store.parent / "mutation"
    child = os.fork()
    if child == 0:
        status = 1
        # A mutation may read an object that another one made gigabytes large.
        resource.setrlimit(resource.RLIMIT_AS, (4 * MEMORY, 4 * MEMORY))
        try:
            rng = random.Random(seed)
            done = mutate(store, rng) if guest is None else mutate_guest(store / guest.part, rng)
            description.write_text(ascii(done), encoding="utf-8")
            status = 0
        except Exception:  # printed here, because this process ends without its parent's handlers
            traceback.print_exc()
        finally:
            os._exit(status)
    if os.waitpid(child, 0)[1]:
        raise RuntimeError(f"the store could not be mutated with seed {seed}")
    return description.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
