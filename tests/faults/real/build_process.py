"""``npd build`` as a process that can be killed and resumed."""

import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.sealed import changed, demo_prompts, to_toml

STOP_TIMEOUT_S = 30.0


class BuildProcess:
    """One build into ``url``. Every start runs the same command."""

    def __init__(
        self, config: Path, url: str, *, prefix: Sequence[str], env: Mapping[str, str], log: Path
    ) -> None:
        self.url = url
        self.log = log
        self.num_resumes = 0
        self._command = [
            *prefix,
            *(sys.executable, "-m", "pipeline.cli", "build", str(config), "--out", url),
        ]
        self._env = dict(env)
        self._process = self._start()

    @property
    def place(self) -> str:
        """``bucket/prefix``."""
        return self.url.removeprefix("s3://")

    @property
    def pid(self) -> int:
        """Process id of the last start."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the exit status of the last start, or None while it runs."""
        return self._process.poll()

    def kill(self) -> bool:
        """Send SIGKILL. Return False if the process had already ended by itself."""
        self._process.send_signal(signal.SIGKILL)
        return self._process.wait() == -signal.SIGKILL

    def resume(self) -> None:
        """Start the same command again after it has ended."""
        assert self.poll() is not None
        self.num_resumes += 1
        self._process = self._start()

    def stop(self) -> None:
        """Kill the process if it runs."""
        if self.poll() is None:
            self.kill()

    def tail(self, num_lines: int = 25) -> str:
        """Return the last lines of the log, for messages."""
        return "\n".join([f"The end of {self.log}:", *self._lines()[-num_lines:]])

    def last_line(self) -> str:
        """Return the last line of the log that is not blank."""
        return next((line for line in reversed(self._lines()) if line.strip()), "")

    def _lines(self) -> list[str]:
        return self.log.read_text(errors="replace").splitlines()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )


def write_config(folder: Path, *, num_units: int, unit_size: int, workers: int) -> Path:
    """Write a configuration of ``num_units`` units. A candidate takes a tenth of a second."""
    prompts = demo_prompts(num_units * unit_size)
    assert len(prompts) == num_units * unit_size, "the demo has no more prompts"
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    settings = changed(
        prompts={"seeds_per_prompt": 1},
        units={"size": unit_size, "batch_size": 2},
        output={"shard_bytes": 100_000},
        cluster={"workers": workers},
    )
    path = folder / "config.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    return path
