"""The Dockerfile, checked by hadolint and for the project's requirements, without Docker."""

import re
import subprocess
import tomllib
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from dockerfile_parse import DockerfileParser
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.infra.files import INFRA, ROOT
from tests.infra.test_shell import tool

PATH = INFRA / "Dockerfile"
CONSTRAINTS = INFRA / "constraints.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def instructions() -> list[tuple[str, str]]:
    """The instructions in order, each with its arguments."""
    structure = DockerfileParser(path=str(PATH)).structure
    return [(s["instruction"], s["value"]) for s in structure if s["instruction"] != "COMMENT"]


def _hadolint(path: Path) -> "subprocess.CompletedProcess[str]":
    command = [tool("hadolint"), "--no-color", "--failure-threshold=style", str(path)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_hadolint_finds_nothing() -> None:
    linted = _hadolint(PATH)
    assert (linted.returncode, linted.stdout) == (0, "")


@pytest.mark.parametrize(
    ("right", "wrong", "rule"),
    [
        ("USER 1000:1000", "USER root", "DL3002"),
        ("python:3.11.13-slim-bookworm", "python:latest", "DL3007"),
        ("wget=1.21.*", "wget", "DL3008"),
        ("WORKDIR /source", "WORKDR /source", "unexpected"),
    ],
)
def test_hadolint_finds_mistakes(tmp_path: Path, right: str, wrong: str, rule: str) -> None:
    text = PATH.read_text(encoding="utf-8")
    assert right in text
    careless = tmp_path / "Dockerfile"
    careless.write_text(text.replace(right, wrong))
    linted = _hadolint(careless)
    assert linted.returncode != 0
    assert rule in linted.stdout + linted.stderr


def test_image_does_not_run_as_root(instructions: list[tuple[str, str]]) -> None:
    users = [value for name, value in instructions if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1]), "a number, for runAsNonRoot"
    after = instructions[instructions.index(("USER", users[-1])) :]
    assert not {"RUN", "COPY", "ADD"} & {name for name, _ in after}


def test_base_is_a_full_version_of_the_python_that_is_locked(
    instructions: list[tuple[str, str]],
) -> None:
    bases = [value.removesuffix(" AS build") for name, value in instructions if name == "FROM"]
    # The wheel is built, and the list of contents is written, by the Python of the image.
    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm(@sha256:[0-9a-f]{64})?", bases[0])


def test_copied_files_exist_and_nothing_else_is_sent(
    instructions: list[tuple[str, str]],
) -> None:
    sources = {
        each
        for name, value in instructions
        if name == "COPY" and not value.startswith("--from=build ")
        for each in value.split()[:-1]
    }
    assert all((ROOT / source).exists() for source in sources)
    lines = (INFRA / "Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
    assert lines[1] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == sources


def test_no_variable_of_the_image_is_a_secret(instructions: list[tuple[str, str]]) -> None:
    variables = " ".join(value for name, value in instructions if name in ("ENV", "ARG"))
    assert "HF_HUB_OFFLINE=1" in variables
    assert "PYTHONPATH" not in variables, "the wheel is installed"
    assert not re.search(r"(?i)secret|password|token|access_?key", variables)


def test_requirements_are_those_of_the_project_and_installed_with_the_lock(
    instructions: list[tuple[str, str]],
) -> None:
    """Run the command of the Dockerfile on this project file."""
    listing, install = (
        value for name, value in instructions if name == "RUN" and "requirements.txt" in value
    )
    listed = subprocess.run(
        ["sh", "-c", listing.rpartition("&&")[2].partition(" > ")[0]],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert listed.stdout.splitlines() == PROJECT["dependencies"]
    assert "--constraint /tmp/constraints.txt --requirement /tmp/requirements.txt" in install


def test_image_lists_its_packages_after_the_last_one_is_installed(
    instructions: list[tuple[str, str]],
) -> None:
    runs = [value for name, value in instructions if name == "RUN"]
    (listing,) = (index for index, run in enumerate(runs) if "cyclonedx-py environment" in run)
    assert "/usr/local/bin/python --output-file /usr/share/sbom/" in runs[listing]
    assert not any("pip install" in run for run in runs[listing:])
    assert any(re.search(r"cyclonedx-bom==\d+\.\d+\.\d+$", run) for run in runs)


def test_constraints_pin_all_dependencies() -> None:
    pinned = pins(CONSTRAINTS)
    assert unlocked(PROJECT["dependencies"], pinned) == set()


def test_dependency_without_a_pin_is_found() -> None:
    pinned = pins(CONSTRAINTS)
    del pinned["botocore"]  # an indirect dependency, through boto3
    assert unlocked(PROJECT["dependencies"], pinned) == {"botocore"}


def pins(constraints: Path) -> dict[str, str]:
    """Return the pinned versions in a constraints file, by canonical name."""
    lines = constraints.read_text(encoding="utf-8").splitlines()
    pinned = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, version in pinned}


def unlocked(requirements: Iterable[str], pinned: dict[str, str]) -> set[str]:
    """Return the direct and indirect requirements without a pinned version.

    Indirect requirements are those of this environment. A parent may pin them itself, as torch does
    with its CUDA libraries.
    """
    found: set[str] = set()
    seen: set[tuple[str, frozenset[str]]] = set()
    waiting = [(Requirement(each), frozenset[str]()) for each in requirements]
    while waiting:
        requirement, extras_of_parent = waiting.pop()
        if not _applies(requirement, extras_of_parent):
            continue
        name, extras = canonicalize_name(requirement.name), frozenset(requirement.extras)
        if (name, extras) in seen:
            continue
        seen.add((name, extras))
        if name not in pinned and not _is_exact(requirement):
            found.add(name)
        try:
            children = distribution(name).requires or []
        except PackageNotFoundError:
            continue
        waiting += [(Requirement(child), extras) for child in children]
    return found


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": each}) for each in (*extras, ""))


def _is_exact(requirement: Requirement) -> bool:
    return [each.operator for each in requirement.specifier] == ["=="]
