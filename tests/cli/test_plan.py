"""``npd plan`` of recipes, on a machine without their weights and without a network."""

import json
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
    # The bill follows after an empty line.
    printed = result.stdout.partition("\n\n")[0].splitlines()
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


def _config(folder: Path, text: str) -> Path:
    path = folder / "build.toml"
    prompts = RECIPES / "prompts.txt"
    path.write_text(text.replace('"prompts.txt"', f'"{prompts}"'), encoding="utf-8")
    return path


def _seconds(lines: list[tuple[str, str]], workers: str) -> list[float]:
    """Return the times on several workers, in seconds."""
    found = [
        re.search(rf"; (\d+) (s|min) on {workers} \[", value)
        for _, value in lines
        if "GPU-hours" in value
    ]
    assert found and all(found)
    return [int(each[1]) * (60 if each[2] == "min" else 1) for each in found if each]


def test_time_on_several_gpus_counts_whole_units(tmp_path: Path) -> None:
    text = (RECIPES / "sdxl.toml").read_text(encoding="utf-8")
    # 64 candidates in one unit keep one of eight GPUs busy.
    alone = _seconds(_plan("sdxl", "--gpus", "8"), r"1 of 8 workers, because .* 1 unit only")
    several = _config(tmp_path, text.replace("size = 64", "size = 24"))
    # Units of 24, 24 and 16: two workers compute 24 + 16 and 24.
    two = _seconds(_plan(str(several), "--gpus", "2"), "2 workers")
    assert two[0] == pytest.approx(alone[0] * 40 / 64, abs=60)
    with_three = _seconds(_plan(str(several), "--gpus", "3"), "3 workers")
    assert with_three[-1] == pytest.approx(alone[-1] * 24 / 64, abs=2)


def test_speeds_are_those_of_software_that_workers_run(tmp_path: Path) -> None:
    text = (RECIPES / "flux1_dev.toml").read_text(encoding="utf-8")
    names = {name for name, value in _plan("flux1_dev") if "GPU-hours" in value}
    assert names == {"H100, PyTorch", "H200, PyTorch"}
    compiled = _config(tmp_path, text.replace("[model]\n", "[model]\ncompile = true\n"))
    names = {name for name, value in _plan(str(compiled)) if "GPU-hours" in value}
    assert "H100, torch.compile" in names


def test_missing_judges_have_the_command_that_fetches_them(tmp_path: Path) -> None:
    lines = _plan(str(_config(tmp_path, (RECIPES / "sdxl.toml").read_text(encoding="utf-8"))))
    missing = "\n".join(value for name, value in lines if name == "missing")
    folder = tmp_path / "models" / "hps_v2"
    assert f"hf download xswu/HPSv2 HPS_v2.1_compressed.pt --local-dir {folder}" in missing


def test_batch_larger_than_a_unit_shows_the_size_that_is_computed(tmp_path: Path) -> None:
    text = (RECIPES / "sdxl.toml").read_text(encoding="utf-8")
    assert "batches" not in dict(_plan("sdxl"))
    larger = _config(tmp_path, text.replace("batch_size = 8", "batch_size = 128"))
    assert dict(_plan(str(larger)))["batches"].startswith("of 64, not 128: no batch spans two")


@pytest.mark.parametrize("name", NAMES)
def test_recipe_every_figure_has_a_source(name: str) -> None:
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    for section in ("sampling", "redenoise"):
        body = re.search(rf"\[{section}\]\n((?:.+\n)+)", text)
        assert body is not None
        assert all(re.search(r" = \S+  # .+", line) for line in body[1].splitlines()), section


def test_bill_compares_the_policies_and_says_what_a_budget_buys() -> None:
    printed = CliRunner().invoke(
        app, ["plan", "sdxl", "--gpu", "h100", "--price", "2.5", "--budget", "100"]
    )
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in printed.stdout.splitlines()
        if line.startswith(("| all", "| sample"))
    ]
    assert [row[0] for row in rows] == ["all (this plan)", "sample of 0.05"]
    assert {row[1] for row in rows} == {"H100, PyTorch"}
    # 3 evaluations make the golden noise, and 40 sample both images. 60% are kept by default.
    assert [float(row[2]) for row in rows] == [43, 3 + 0.05 * 40]
    assert [float(row[4]) for row in rows] == [71.7, 5.1]
    buys = [int(row[-1].replace(",", "")) for row in rows]
    # A tenth of the evaluations of a pair, and fewer decoded images.
    assert buys[1] > 10 * buys[0]


def test_bill_as_json_has_the_same_figures() -> None:
    result = CliRunner().invoke(
        app, ["plan", "sdxl", "--gpu", "H200", "--price", "2", "--budget", "10", "--json"]
    )
    found = json.loads(result.stdout)
    everything, sample = found["policies"]
    assert (everything["policy"], everything["is_planned"], everything["share"]) == (
        "all",
        True,
        None,
    )
    assert (sample["policy"], sample["share"]) == ("sample", 0.05)
    assert everything["gpu_seconds"] == pytest.approx(found["published"][2]["gpu_seconds"])
    assert everything["cost"] == pytest.approx(everything["gpu_seconds"] / 3600 * 2)
    assert found["requests"]["writes"] > 2 * found["units"]


def test_unknown_gpu_is_refused_with_the_known_ones() -> None:
    result = CliRunner().invoke(app, ["plan", "sdxl", "--gpu", "tpu"])
    assert result.exit_code != 0
    assert "--gpu tpu: no speed is known" in str(result.exception)


def test_small_batches_of_judged_candidates_are_said(tmp_path: Path) -> None:
    text = (RECIPES / "sdxl.toml").read_text(encoding="utf-8")
    for line in ("[judging]", 'policy = "sample"', "share = 0.05"):
        text = text.replace(f"# {line}", line)
    result = CliRunner().invoke(app, ["plan", str(_config(tmp_path, text))])
    # Units of 64 and batches of 8.
    assert "3.2 judged candidates on average, in batches of up to 8" in result.stdout
    assert "units.size = 160 fills a batch" in result.stdout
    assert "| sample of 0.05 (this plan)" in result.stdout
