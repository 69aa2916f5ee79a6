"""The shell scripts, checked by shellcheck and by bash."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.infra.files import INFRA, ROOT

SCRIPTS = [ROOT / ".ci" / "run", *sorted(INFRA.rglob("*.sbatch")), *sorted(INFRA.rglob("*.sh"))]
SBATCH = INFRA / "slurm" / "build.sbatch"


def tool(name: str) -> str:
    """Return the path of a program that pip installed beside this interpreter."""
    found = shutil.which(name, path=str(Path(sys.executable).parent))
    assert found, f"{name} is not installed; run `make setup`"
    return found


def _shellcheck(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [tool("shellcheck"), "--enable=quote-safe-variables", "--format=gcc", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(script: Path) -> None:
    checked = _shellcheck(script)
    assert (checked.returncode, checked.stdout) == (0, "")


def test_shellcheck_finds_mistakes(tmp_path: Path) -> None:
    careless = tmp_path / "careless.sbatch"
    careless.write_text(SBATCH.read_text().replace('"$config"', "$config"))
    checked = _shellcheck(careless)
    assert checked.returncode != 0
    assert "Double quote" in checked.stdout


def test_sbatch_script_is_requeued_and_never_stops_other_ray_clusters() -> None:
    lines = SBATCH.read_text().splitlines()
    directives = {line.split()[1] for line in lines if line.startswith("#SBATCH")}
    assert {"--requeue", "--open-mode=append"} <= directives
    assert any(each.startswith("--signal=B:USR1@") for each in directives)
    code = [line.partition("#")[0] for line in lines]
    assert not any("ray stop" in line for line in code)
    assert any("RAY_AUTH_MODE=token" in line for line in code)


def test_sbatch_script_requires_its_arguments() -> None:
    started = subprocess.run(
        ["bash", str(SBATCH), "my.toml"], check=False, capture_output=True, text=True
    )
    assert started.returncode != 0
    assert "usage: sbatch build.sbatch CONFIG OUT" in started.stderr
