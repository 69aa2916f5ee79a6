"""The wheel of the project, installed without the checkout, in a root like that of the image."""

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.environments import can_mount, needs_root
from tests.infra.files import ROOT
from tests.infra.scratch_root import in_scratch_root
from tests.infra.test_rayjob import WRITABLE
from tests.sealed import changed, write_config

DEADLINE_S = 300

SOURCES = ("pipeline", "jobs", "pyproject.toml", "README.md", "LICENSE")
"""Files that the Dockerfile copies to build the wheel."""

SETTINGS = changed(
    prompts={"seeds_per_prompt": 1},
    sampling={"num_inference_steps": 1},
    redenoise={"num_inference_steps": 2},
    output={"formats": ["arrow"]},
    cluster={"workers": 1},
)

COMMANDS = """\
npd --version
npd init sdxl /home/npd/sdxl.toml
npd plan demo
python -m jobs.build {config} --out /home/npd/out
! touch /usr/written /written 2> /dev/null
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Built from a copy, because setuptools leaves a folder beside the sources.
    source = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index"),
            *("--no-build-isolation", "--wheel-dir", str(source / "wheels"), str(source)),
        ],
        check=True,
        timeout=DEADLINE_S,
    )
    (built,) = (source / "wheels").glob("noise_prompt_dataset-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, and with the dependencies of this one."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"),
            *("--disable-pip-version-check", "--no-deps", "--no-index", str(wheel)),
        ],
        check=True,
        timeout=DEADLINE_S,
    )
    # A path in a .pth file adds the packages, without the .pth file that leads to this checkout.
    dependencies = sysconfig.get_path("purelib")
    (_packages(folder) / "dependencies.pth").write_text(f"{dependencies}\n", encoding="utf-8")
    return folder


def _packages(environment: Path) -> Path:
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    return environment / "lib" / version / "site-packages"


def test_wheel_contains_all_files_of_the_packages(wheel: Path) -> None:
    listed = subprocess.run(
        ["git", "ls-files", "pipeline", "jobs"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    tracked = set(listed.stdout.splitlines())
    packed = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {"pipeline/demo/model/unet/config.json", "pipeline/recipes/sdxl.toml"} <= tracked
    assert packed == tracked


@needs_root
def test_wheel_builds_the_demo_in_a_read_only_root(environment: Path, tmp_path: Path) -> None:
    """Run as user 1000, without the checkout, and with the writable folders of the pods."""
    if not can_mount(tmp_path):
        pytest.skip("this machine allows no mounts")
    demo = _packages(environment) / "pipeline" / "demo"
    settings = SETTINGS | {
        "model": {"path": str(demo / "model"), "name": "demo"},
        "rewards": [{"name": "scene", "kind": "scene", "path": str(demo / "reward")}],
    }
    configuration = tmp_path / "configuration"
    write_config(configuration, settings)
    for folder in (environment, configuration):
        folder.chmod(0o755)  # pytest's are closed to other users
    (tmp_path / "root").mkdir()
    command = in_scratch_root(
        tmp_path / "root",
        ["sh", "-ec", COMMANDS.format(config=configuration / "build.toml")],
        readable=[
            *(Path(sys.base_prefix), Path(sysconfig.get_path("purelib"))),
            *(environment, configuration),
        ],
        writable=sorted(WRITABLE),
        env={
            "HOME": "/home/npd",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "PATH": os.pathsep.join([str(environment / "bin"), "/usr/bin", "/bin"]),
        },
    )
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    assert ended.returncode == 0, f"{ended.stdout}\n{ended.stderr}"
    assert "sealed at file:///home/npd/out" in ended.stderr
