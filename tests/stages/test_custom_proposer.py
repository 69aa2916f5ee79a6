"""A custom proposer: the documented example as written, and the mistakes that are rejected."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.cluster.worker import check_models
from pipeline.config.plan import PlannedCustom
from pipeline.config.sections import Config
from pipeline.core.errors import EntryPointError, ModelError, UserError
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.proposer_files import load_proposers
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.workflows.plan import make_plan
from tests.sealed import demo_models, demo_prompts, write_config
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import KEEP_ALL, stored_pairs
from tests.stages.test_several_proposals import with_proposers

DOCS = Path(__file__).parents[2] / "docs" / "proposers.md"
EXAMPLE = next(
    block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
)
PULL: dict[str, Any] = {
    "kind": "custom",
    "name": "pull",
    "entry": "pull:Pull",
    "code": ".",
    "options": {"strength": 0.5},
}


@pytest.fixture(autouse=True)
def _nothing_stays_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    sys.modules.pop("pull", None)


def config(folder: Path, code: str = EXAMPLE, **changes: Any) -> Config:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pull.py").write_text(code, encoding="utf-8")
    settings = with_proposers(KEEP_ALL, [PULL | changes])
    return write_config(folder, settings, prompts=demo_prompts(1))


def produce(settings: Config, denoiser: WrappedDenoiser) -> ProducedUnit:
    plan, prompts = make_plan(settings)
    candidates = list(prompts.candidates(plan, plan.unit_range(0)))
    loaded = load_proposers(settings, denoiser)
    return produce_unit(candidates, denoiser, demo_models()[1], BuildSpec.of(plan), loaded=loaded)


def test_example_of_the_documentation_proposes_as_it_is_written(tmp_path: Path) -> None:
    assert f'entry = "{PULL["entry"]}"' in DOCS.read_text("utf-8")
    settings = config(tmp_path)
    denoiser = WrappedDenoiser(demo_models()[0])
    produced = produce(settings, denoiser)
    spec = BuildSpec.of(make_plan(settings)[0])
    assert {outcome.proposal for outcome in produced.outcomes} == {"pull"}
    # The source image and the golden one have four steps each; the proposer's two beside.
    assert spec.evaluations() == 4 + 2 + 4
    assert denoiser.rows_predicted == produced.forward_evaluations == 2 * spec.evaluations()
    for pair in stored_pairs(produced):
        source, golden = (
            torch.tensor(noise).float() for noise in (pair.source_noise, pair.golden_noise)
        )
        assert float(golden.norm() / source.norm()) == pytest.approx(1, abs=1e-3)
        assert 0.01 < pair.noise_stats.relative_change < 1


def test_plan_has_the_digest_of_the_code_and_what_it_costs_but_no_path(tmp_path: Path) -> None:
    settings = config(tmp_path / "a")
    plan, _ = make_plan(settings)
    (proposer,) = plan.proposers
    assert isinstance(proposer, PlannedCustom)
    assert (proposer.proposals, proposer.evaluations) == (1, 2)
    assert proposer.options == {"strength": 0.5}
    assert str(tmp_path) not in plan.model_dump_json()
    check_models(settings, ResolvedModels(settings), plan)
    (tmp_path / "a" / "pull.py").write_text(EXAMPLE + "# another\n")
    with pytest.raises(ModelError, match=r"pull:Pull: its files on .* are not those of the plan"):
        check_models(settings, ResolvedModels(settings), plan)


def test_plan_changes_with_the_code_and_with_its_options(tmp_path: Path) -> None:
    plans = [make_plan(config(tmp_path))[0]]
    plans.append(make_plan(config(tmp_path, options={"strength": 0.25}))[0])
    plans.append(make_plan(config(tmp_path, EXAMPLE + "# another\n"))[0])
    assert len({plan.plan_id for plan in plans}) == 3


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Pull:\n    def __init__(self): ...\n", "refuses options"),
        (EXAMPLE.replace("proposals = 1", "proposals = 0"), "at least 1"),
        (EXAMPLE.replace("evaluations = 2", "evaluations = 2.5"), "no proposer; it needs"),
        (EXAMPLE.replace("def propose", "def make"), "no proposer; it needs"),
        (EXAMPLE.replace("class Pull", "class Push"), "no attribute 'Pull'"),
    ],
)
def test_code_that_is_no_proposer_is_refused_when_it_is_planned(
    tmp_path: Path, code: str, message: str
) -> None:
    with pytest.raises(EntryPointError, match=message):
        make_plan(config(tmp_path, code))


@pytest.mark.parametrize(
    ("found", "promised", "message"),
    [
        ("proposals = 1", "proposals = 2", r"'pull': made 1 noises .* `proposals` is 2"),
        ("scale * golden", "golden[:1]", r"'pull': gave golden noise of shape \(1, 4, 8, 8\)"),
    ],
)
def test_proposer_that_does_something_else_than_it_says_is_named(
    tmp_path: Path, found: str, promised: str, message: str
) -> None:
    assert found in EXAMPLE
    settings = config(tmp_path, EXAMPLE.replace(found, promised))
    with pytest.raises(UserError, match=message):
        produce(settings, WrappedDenoiser(demo_models()[0]))
