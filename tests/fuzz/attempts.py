"""Runs of one command over one store, each in a new process, with limits on memory and time."""

import faulthandler
import os
import resource
import select
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path
from typing import Literal

from click.exceptions import ClickException

from pipeline.cli.app import app
from pipeline.core.errors import NPDError
from pipeline.reader import NoisePairDataset, NoisePairTable
from pipeline.reader.samples import COLUMNS

Attempt = Callable[[Path], None]

MEMORY = 2**30
"""Bytes that a command may take beyond what the process had when it started."""
CPU_S = 10
"""Processor time after which a command hangs. Time on the clock depends on other processes."""
WAITING_S = 60.0
"""Time on the clock after which a command hangs that waits and uses no processor."""
_OUTPUT_BYTES = 1_000_000

_IMPORTED_LATE = (
    "pandas",
    "PIL.ImageDraw",
    "PIL.PngImagePlugin",
    "PIL.WebPImagePlugin",
    "pipeline.evaluate.report",
    "pipeline.publish.export.formats",
    "pipeline.publish.prune",
    "pipeline.publish.select",
    "pipeline.workflows.page",
    "pipeline.workflows.repair",
    "pyarrow.dataset",
    "yaml",
)
"""Modules that commands import when they run, which takes most of their time over a small set."""


class Outcome(StrEnum):
    """Result of a command over a mutated store."""

    RESULT = "result"
    FINDING = "finding"
    ERROR = "error"
    TRACEBACK = "traceback"
    SIGNAL = "signal"
    HANG = "hang"
    MEMORY = "memory"
    ESCAPE = "escape"

    @property
    def is_fault(self) -> bool:
        """True if no data, however it was made, may cause this."""
        return self not in (Outcome.RESULT, Outcome.FINDING, Outcome.ERROR)


class FindingError(Exception):
    """Raised when a command ends with the exit code of a finding."""


@dataclass(frozen=True)
class Observed:
    """Outcome of one command."""

    outcome: Outcome
    detail: str = ""
    peak_bytes: int = 0
    """Memory that the command took beyond what its process had."""


def _read(
    store: Path,
    columns: Sequence[str] = COLUMNS,
    on_damage: Literal["raise", "skip"] = "raise",
    verify: bool = True,
) -> None:
    pairs = NoisePairDataset(
        str(store), seed=0, batch_size=4, columns=columns, on_damage=on_damage, verify=verify
    )
    for _ in pairs:
        pass


def _read_table(store: Path) -> None:
    table = NoisePairTable(str(store))
    for index in range(min(len(table), 50)):
        table[index]


def _page_of_a_build(store: Path) -> None:
    """Make the page of the same store as if it were not sealed."""
    success = store / "_SUCCESS"
    if success.is_dir() and not success.is_symlink():
        shutil.rmtree(success)
    else:
        success.unlink(missing_ok=True)
    _PAGE(store)


def _command(*arguments: str) -> Attempt:
    def run(store: Path) -> None:
        places = {"URL": str(store), "OUT": str(store.parent / "out")}
        # Outside of its standalone mode, typer returns the exit code that a command asks for.
        if app([places.get(each, each) for each in arguments], standalone_mode=False) == 1:
            raise FindingError

    return run


_PAGE = _command("report", "URL", "--html", "--out", "OUT")

ATTEMPTS: Mapping[str, Attempt] = {
    "read": _read,
    "read images": lambda store: _read(
        store, columns=["source_image", "golden_image", "source_noise", "golden_noise"]
    ),
    "read skipping": lambda store: _read(store, on_damage="skip"),
    "read unverified": lambda store: _read(store, verify=False),
    "table": _read_table,
    "status": _command("status", "URL"),
    "verify": _command("verify", "URL"),
    "page": _PAGE,
    "page of a build": _page_of_a_build,
    "gc": _command("gc", "URL", "--older-than", "0s", "--delete"),
    "select": _command("select", "URL", "--margin", "scene=0.1"),
    "prune": _command("prune", "URL", "--delete"),
    "repair": _command("repair", "URL"),
    **{
        f"export {name}": _command("export", "URL", "OUT", "--format", name)
        for name in ("golden-noise-npz", "webdataset", "parquet", "mds", "hf")
    },
}


def import_once() -> None:
    """Import, for all processes forked later, what commands import when they run."""
    for name in _IMPORTED_LATE:
        import_module(name)


def observe(attempt: Attempt, store: Path) -> Observed:
    """Run ``attempt`` in a forked process and return what happened.

    The caller must have imported what attempts need and must have no other threads.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _run_and_exit(attempt, store, writing)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        is_done, _, _ = select.select([pipe], [], [], WAITING_S + 1)
        if not is_done:
            os.kill(child, signal.SIGKILL)
        report = pipe.read()
    _, status, usage = os.wait4(child, 0)
    if not is_done:
        return Observed(Outcome.HANG, f"no end after {WAITING_S:.0f} s: {_stack(store)}")
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGXCPU:
        return Observed(Outcome.HANG, f"no end after {CPU_S} s of processor time: {_stack(store)}")
    if os.WIFSIGNALED(status):
        return Observed(Outcome.SIGNAL, signal.Signals(os.WTERMSIG(status)).name)
    outcome, start, detail = report.decode("utf-8", "replace").split("\n", 2)
    peak = usage.ru_maxrss * 1024 - int(start)
    return Observed(Outcome(outcome), detail, max(peak, 0))


def _run_and_exit(attempt: Attempt, store: Path, writing: int) -> None:
    pages, resident = Path("/proc/self/statm").read_text().split()[:2]
    page = resource.getpagesize()
    limit = int(pages) * page + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # A disk that a command fills is a fault too.
    resource.setrlimit(resource.RLIMIT_FSIZE, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    output = os.open(store.parent / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    with (store.parent / "stack").open("w") as stack:
        # Python's own handlers would wait for the end of a call into a library.
        faulthandler.register(signal.SIGXCPU, file=stack, chain=True)
        faulthandler.dump_traceback_later(WAITING_S, file=stack)
        outcome, detail = _outcome(attempt, store)
        faulthandler.cancel_dump_traceback_later()
    sys.stdout.flush()
    sys.stderr.flush()
    text = os.pread(output, _OUTPUT_BYTES, 0)
    if not outcome.is_fault and (found := _control_characters(text + detail.encode())):
        outcome, detail = Outcome.ESCAPE, f"output holds {found!r}"
    os.write(writing, f"{outcome}\n{int(resident) * page}\n{detail}".encode("utf-8", "replace"))
    os._exit(0)


def _outcome(attempt: Attempt, store: Path) -> tuple[Outcome, str]:
    try:
        attempt(store)
    except NPDError as error:
        return Outcome.ERROR, f"{type(error).__name__}: {error}"
    except FindingError:
        return Outcome.FINDING, ""
    except (ClickException, SystemExit) as error:
        return Outcome.ERROR, f"{type(error).__name__}: {error}"
    except MemoryError:
        return Outcome.MEMORY, _where(traceback.format_exc())
    except BaseException as error:  # every way to end is an outcome
        kind = type(error)
        if "Out of memory" in str(error) or "malloc" in str(error) or "realloc" in str(error):
            return Outcome.MEMORY, _where(traceback.format_exc())
        return (
            Outcome.TRACEBACK,
            f"{kind.__name__}: {str(error)[:200]}\n{_where(traceback.format_exc())}",
        )
    return Outcome.RESULT, ""


def _stack(store: Path) -> str:
    """Return where a command was when its time was over."""
    lines = (store.parent / "stack").read_text(errors="replace").splitlines()
    return " < ".join(line.strip() for line in lines if "/pipeline/" in line)[:1000]


def _where(text: str) -> str:
    """Return the last lines of a traceback that lie in this project."""
    frames = [line.strip() for line in text.splitlines() if "/pipeline/" in line]
    return " < ".join(frame.split("/pipeline/")[-1] for frame in reversed(frames[-3:]))


def _control_characters(text: bytes) -> str:
    """Return the first control character of ``text`` that a terminal would act on, or nothing."""
    for character in text.decode("utf-8", "replace"):
        number = ord(character)
        if (number < 32 and character not in "\n\r\t") or number == 127 or 128 <= number < 160:
            return character
        if character in "\u202a\u202b\u202d\u202e\u2066\u2067\u2068":
            return character
    return ""
