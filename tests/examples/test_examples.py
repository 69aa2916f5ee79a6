"""Every example runs as documented on a real sealed set; `tests/jobs` runs the Ray job."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image

from examples import train_and_use_npnet, training_loop
from jobs import build
from pipeline.config.file import load_config
from pipeline.storage.open import open_store
from tests.docs.markdown import ROOT, code_blocks
from tests.sealed import manifest_of
from tests.without_ray import build_without_ray

EXAMPLES = ROOT / "examples"


def test_training_loop_resumes_at_the_next_batch(
    sealed_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_loop, "BATCH_SIZE", 4)
    training_loop.main(str(sealed_folder))
    printed = capsys.readouterr().out.split()
    done, total, rest = (int(word) for word in printed if word.isdigit())
    assert (done, done + rest) == (8, total)


def test_network_is_trained_and_used_with_a_pipeline(sealed_folder: Path, tmp_path: Path) -> None:
    train_and_use_npnet.main(str(sealed_folder), tmp_path / "npnet", steps=2, batch_size=4)
    images = [(tmp_path / "npnet" / f"{name}.png") for name in ("standard", "golden")]
    assert [Image.open(image).size for image in images] == [(32, 32)] * 2
    assert images[0].read_bytes() != images[1].read_bytes()


@pytest.mark.parametrize(
    ("folder", "module"), [("custom_judge", "brightness"), ("custom_proposer", "pull")]
)
def test_own_class_builds_a_unit(
    folder: str, module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    build_without_ray(open_store(str(tmp_path)), load_config(EXAMPLES / folder / "build.toml"))
    manifest = manifest_of(tmp_path)
    assert (manifest.funnel.candidates, manifest.funnel.failed) == (16, {})
    assert manifest.funnel.kept > 0
    assert module in sys.modules
    sys.modules.pop(module)


def test_ray_job_submits_the_build_and_returns_its_status(tmp_path: Path) -> None:
    """With a ``ray`` that records its arguments; ``tests/jobs`` submits to a real cluster."""
    (tmp_path / "ray").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 3\n')
    (tmp_path / "ray").chmod(0o755)
    ended = subprocess.run(
        ["sh", EXAMPLES / "ray_job.sh", "/shared/my.toml", "s3://bucket/npd", "8"],
        env=os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 3
    words = ended.stdout.split()
    assert words[:6] == ["job", "submit", "--", "python", "-m", "jobs.build"]
    command = typer.main.get_command(build.app)
    given = command.make_context("build", words[6:]).params
    assert (given["config"], given["out"], given["workers"]) == (
        "/shared/my.toml",
        "s3://bucket/npd",
        8,
    )


def test_documents_show_the_code_of_the_examples() -> None:
    for page, file in (
        ("judges.md", "custom_judge/brightness.py"),
        ("proposers.md", "custom_proposer/pull.py"),
    ):
        blocks = code_blocks((ROOT / "docs" / page).read_text("utf-8"), "python")
        assert (EXAMPLES / file).read_text("utf-8") in blocks
