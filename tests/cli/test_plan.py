"""``npd plan`` of recipes, on a machine without their weights and without a network."""

import re
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.config.file import RECIPES, load_config

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))

EVALUATIONS = {
    # Two images of N steps with two evaluations per step, one denoising step with two and one
    # inversion step with one.
    "sdxl": 2 * 10 * 2 + 2 + 1,
    "dreamshaper_xl_turbo": 2 * 4 * 2 + 2 + 1,
    "hunyuan_dit": 2 * 10 * 2 + 2 + 1,
    "sd35_large": 2 * 28 * 2 + 2 + 1,
    # Receives the guidance scale as an input, so a step is one evaluation.
    "flux1_dev": 2 * 28 + 1 + 1,
}


@pytest.fixture(autouse=True)
def _no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Use an empty cache, and a hub address at which every request fails."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")


def _plan(*arguments: str) -> list[tuple[str, str]]:
    result = CliRunner().invoke(app, ["plan", *arguments], catch_exceptions=False)
    assert result.exit_code == 0
    printed = [line for line in result.stdout.splitlines() if line]
    lines = [re.split(r"\s{2,}|(?<=^missing)\s+", line, maxsplit=1) for line in printed]
    return [(name, value) for name, value in lines]


@pytest.mark.parametrize("name", NAMES)
def test_recipe_plans_without_weights(name: str) -> None:
    lines = _plan(name)
    figures = dict(lines)
    assert figures["plan"] == "no id until all models are present"
    assert figures["candidates"] == "64"
    evaluations = EVALUATIONS[name]
    assert figures["forward evaluations"] == (
        f"{evaluations} per candidate, {64 * evaluations:,} in total"
    )
    config = load_config(name)
    hours = [value for _, value in lines if "GPU-hours" in value]
    assert hours and all(f"64 × ({evaluations} × " in value for value in hours)
    missing = [value for key, value in lines if key == "missing"]
    assert len(missing) == 1 + len(config.rewards)
    if config.model.hub is not None:
        assert f"hf download {config.model.hub}" in missing[0]
        assert f"--revision {config.model.revision}" in missing[0]


def test_recipe_on_several_gpus_shows_the_time() -> None:
    hours = [value for _, value in _plan("sdxl", "--gpus", "8") if "GPU-hours" in value]
    assert all(re.search(r"; \d+ (s|min) on 8 \[", value) for value in hours)


@pytest.mark.parametrize("name", NAMES)
def test_recipe_every_figure_has_a_source(name: str) -> None:
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    for section in ("sampling", "redenoise"):
        body = re.search(rf"\[{section}\]\n((?:.+\n)+)", text)
        assert body is not None
        assert all(re.search(r" = \S+  # .+", line) for line in body[1].splitlines()), section
