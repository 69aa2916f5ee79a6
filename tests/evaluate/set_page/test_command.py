"""Tests of ``npd report --html`` on sealed data sets and on builds that are not sealed."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError
from pipeline.storage.open import open_store
from tests.evaluate.trial.pages import Page
from tests.sealed import Built


def report(*arguments: object) -> str:
    """Run the command and return its output. Errors are raised."""
    ended = CliRunner().invoke(app, ["report", *map(str, arguments)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


def text_of(page: Path) -> str:
    return " ".join(" ".join(Page(page).texts).split())


def test_page_of_a_sealed_set_has_its_funnel_gains_and_pairs(
    built: Built, sealed_folder: Path, tmp_path: Path
) -> None:
    plan_id = built.plan.plan_id
    output = report(sealed_folder, "--html", "--price", "2", "--out", tmp_path)
    file = tmp_path / "reports" / plan_id / "report.html"
    assert str(file) in output.replace("\n", "")
    page = Page(file)
    assert not page.open
    text = text_of(file)
    for expected in (
        "Sealed, version 1.",
        "control: independent seed, same filter",
        f"candidates planned {built.plan.num_candidates}",
        "At 2 per worker and hour",
        "colour: red",
        "Largest gains under oracle",
    ):
        assert expected in text
    policies = [a["content"] for tag, a in page.tags if a.get("http-equiv")]
    assert len(policies) == 1 and policies[0] is not None
    assert policies[0].startswith("default-src 'none'; img-src data:; style-src 'sha256-")
    assert "unsafe" not in policies[0]
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert images and all((each["src"] or "").startswith("data:image/") for each in images)
    assert file.stat().st_size < 3_000_000


def test_page_is_the_same_each_time(sealed_folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        report(sealed_folder, "--html", "--out", tmp_path / name)
    first, second = (next((tmp_path / name).rglob("report.html")) for name in ("a", "b"))
    assert first.read_bytes() == second.read_bytes()


def test_page_of_a_running_build_is_made_alone(built: Built, tmp_path: Path) -> None:
    store = open_store(str(tmp_path / "store"))
    built.commit(store, skip=(1, 4), started="2026-01-01T00:00:00+00:00")
    output = report(tmp_path / "store", "--html")
    folder = tmp_path / "store" / "reports" / built.plan.plan_id
    assert [path.name for path in folder.iterdir()] == ["report.html"]
    assert "report.html" in output
    text = text_of(folder / "report.html")
    assert f"Not sealed: 3 of {built.plan.num_units} units done." in text
    assert "The last unit ended at 2026-01-01 00:00 UTC, by the clock of its machine." in text
    assert "candidates done 30" in text and "Random pairs" in text


def test_page_of_a_build_without_any_unit_says_so(built: Built, tmp_path: Path) -> None:
    built.commit(open_store(str(tmp_path)), skip=tuple(range(built.plan.num_units)))
    report(tmp_path, "--html")
    text = text_of(next(tmp_path.rglob("report.html")))
    assert "Not sealed: 0 of" in text and "No candidate has all scores yet." in text
    assert "No receipt is in the store" in text


def test_page_of_a_set_without_receipts_and_units_has_no_times(damaged: Path) -> None:
    for name in ("receipts", "units"):
        for path in (damaged / name).rglob("*.*"):
            path.unlink()
    report(damaged, "--html")
    text = text_of(next(damaged.rglob("report.html")))
    assert "No receipt is in the store" in text and "Largest gains under oracle" in text


def test_categories_of_a_file_replace_those_of_the_demo(
    built: Built, sealed_folder: Path, tmp_path: Path
) -> None:
    prompts = "\n".join(f'"{prompt}",my kind' for prompt in built.prompts.prompts)
    file = tmp_path / "kinds.csv"
    file.write_text(f"prompt,category\n{prompts}\n", "utf-8")
    report(sealed_folder, "--html", "--categories", file, "--out", tmp_path / "out")
    text = text_of(next((tmp_path / "out").rglob("report.html")))
    assert f"my kind ({built.plan.num_candidates} candidates)" in text
    assert "colour: red" not in text


def test_wrong_options_of_a_page_are_refused(sealed_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="add --html"):
        report(sealed_folder, "--price", "2")
    with pytest.raises(UserError, match="need --categories"):
        report(sealed_folder, "--html", "--prompt-column", "text")
    with pytest.raises(UserError, match="no plan 'none'"):
        report(sealed_folder, "--html", "--plan", "none")
    with pytest.raises(UserError, match="no plan here"):
        report(tmp_path, "--html")
