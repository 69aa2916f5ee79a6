"""Controls that were measured with models stay in every later report of their plan."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import UserError, VerificationError
from pipeline.evaluate.compare import Estimate, Gain
from pipeline.evaluate.stored_controls import (
    GuidanceControl,
    add_control,
    controls_key,
    measured_controls,
    read_controls,
)
from pipeline.storage.local import LocalStore
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.workflows.report import PlanReport, report_plan
from tests.sealed import Built, build, changed, demo_prompts, manifest_of

_GAIN = Gain(
    num_pairs=24,
    standard=0.5,
    other=0.75,
    wins=Estimate(0.625, 0.5, 0.75),
    gain=Estimate(0.25, 0.125, 0.375),
)


def _control(guidance: float) -> GuidanceControl:
    return GuidanceControl(guidance=guidance, evaluations=8, gains={"scene": _GAIN, "oracle": None})


def _report(folder: Path, built: Built | None = None, guidance: float | None = None) -> PlanReport:
    config = None if built is None else built.config
    return report_plan(open_store(str(folder)), manifest_of(folder), config, guidance)


def test_report_without_guidance_keeps_the_controls_of_earlier_ones(
    damaged: Path, built: Built, tmp_path: Path
) -> None:
    first = _report(damaged, built, 2.0)
    assert measured_controls(first.text) == {"control: plain guidance 2"}
    second = _report(damaged)
    assert second.text == first.text
    both = _report(damaged, built, 3.0)
    assert measured_controls(both.text) == {
        "control: plain guidance 2",
        "control: plain guidance 3",
    }
    # Another place has the controls of the data set too.
    elsewhere = report_plan(
        open_store(str(damaged)), manifest_of(damaged), None, None, target=LocalStore(tmp_path)
    )
    assert elsewhere.text == both.text == _report(damaged).text


def test_stored_control_is_the_row_of_the_report(damaged: Path, built: Built) -> None:
    plan_id = built.plan.plan_id
    store = open_store(str(damaged))
    add_control(store, plan_id, _control(5.5))
    row = next(line for line in _report(damaged).text.splitlines() if "guidance 5.5" in line)
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells == [
        "control: plain guidance 5.5",
        "scene",
        "8",
        "24",
        "0.500",
        "0.750",
        "+0.250 [+0.125, +0.375]",
        "62.5 [50.0, 75.0]",
    ]
    # A control of the same scale replaces it, and the others stay.
    add_control(store, plan_id, _control(2.0))
    again = _control(5.5).model_copy(update={"evaluations": 16})
    add_control(store, plan_id, again)
    assert read_controls([store], plan_id) == [_control(2.0), again]


class _Interrupted(LocalStore):
    """Store in which another report stores a control after each first read of an object."""

    def __init__(self, root: Path, plan_id: str) -> None:
        super().__init__(root)
        self._plan_id = plan_id
        self._interrupted: set[str] = set()

    def get_versioned(self, key: str) -> tuple[bytes, str]:
        try:
            return super().get_versioned(key)
        finally:
            if key not in self._interrupted:
                self._interrupted.add(key)
                folder = self.root
                add_control(LocalStore(folder), self._plan_id, _control(len(self._interrupted)))
                _report(folder)


def test_reports_at_the_same_time_lose_no_control(damaged: Path, built: Built) -> None:
    store: ObjectStore = _Interrupted(damaged, built.plan.plan_id)
    add_control(store, built.plan.plan_id, _control(9.0))
    made = report_plan(store, manifest_of(damaged), None, None)
    assert measured_controls(made.text) == {f"control: plain guidance {n}" for n in (1, 2, 9)}
    assert open_store(str(damaged)).get(made.keys[0]).decode() == made.text


def test_report_of_an_earlier_version_is_not_replaced_by_one_with_fewer_controls(
    damaged: Path, built: Built
) -> None:
    store = open_store(str(damaged))
    add_control(store, built.plan.plan_id, _control(2.0))
    before = _report(damaged)
    store.delete(controls_key(built.plan.plan_id))
    with pytest.raises(UserError, match=r"'control: plain guidance 2', which an earlier version"):
        _report(damaged)
    assert store.get(before.keys[0]).decode() == before.text
    add_control(store, built.plan.plan_id, _control(2.0))
    assert _report(damaged).text == before.text


@pytest.mark.parametrize("content", [b"", b"{}", b'{"guidance": [{"guidance": NaN}]}'])
def test_damaged_controls_are_an_error_and_no_report(
    damaged: Path, built: Built, content: bytes
) -> None:
    open_store(str(damaged)).put(controls_key(built.plan.plan_id), content)
    with pytest.raises(VerificationError, match=r"controls.json: damaged"):
        _report(damaged)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no/folder/pairs.png", "there is no folder"),
        (".", "is a folder"),
        ("file/pairs.png", "there is no folder"),
    ],
)
def test_picture_that_cannot_be_written_is_an_error_before_work(
    sealed_folder: Path, tmp_path: Path, path: str, message: str
) -> None:
    (tmp_path / "file").touch()
    arguments: list[Any] = ["report", sealed_folder, "--picture", tmp_path / path]
    arguments += ["--out", tmp_path / "out"]
    with pytest.raises(UserError, match=message):
        CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["file"]


def test_picture_of_a_set_without_images_is_an_error(tmp_path: Path) -> None:
    settings = changed(output={"images": "none"}, units={"size": 2, "batch_size": 2})
    built = build(tmp_path / "config", settings, prompts=demo_prompts(1))
    built.sealed_in(str(tmp_path / "out"))
    with pytest.raises(UserError, match="stores no images"):
        CliRunner().invoke(
            app,
            ["report", str(tmp_path / "out"), "--picture", str(tmp_path / "pairs.png")],
            catch_exceptions=False,
        )
