"""Several proposals and rewards in a sealed set: ledger, verification, report, and re-selection."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.config.plan import Plan
from pipeline.config.sections import SelectionConfig
from pipeline.core.records import Outcome, RuleName
from pipeline.evaluate.report import make_report
from pipeline.evaluate.scores import read_scores
from pipeline.models.resolved_models import ResolvedModels
from pipeline.publish.compact import compact_in
from pipeline.publish.select import select
from pipeline.publish.verify import verify
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import produce_unit
from pipeline.storage.formats.ledger import ledger_schema
from pipeline.storage.local import LocalStore
from pipeline.storage.manifest import Manifest
from pipeline.workflows.plan import plan_of, prompts_of
from tests.sealed import SETTINGS, Built, changed, demo_models, demo_prompts, write_config

MARGINS = {"a": 0.0, "b": 0.25, "c": 0.5}
WEIGHTS = {"a": 1.0, "b": 1.0, "c": 4.0}
PROPOSERS = [
    {"kind": "redenoise", **SETTINGS["redenoise"]},
    {"kind": "zigzag", **SETTINGS["redenoise"]},
    {"kind": "trajectory", "inversion_guidance_scale": 0.0},
    {"kind": "best_of_n", "name": "random", "n": 2},
]
EVALUATIONS = 4 + (3 + 4) + (6 + 4) + (4 + 4) + 2 * 4


def _settings(rule: RuleName) -> dict[str, Any]:
    """Three rewards with the same scores and different margins."""
    scene = SETTINGS["rewards"][0]
    rewards = [
        {**scene, "name": name, "margin": margin, "weight": WEIGHTS[name]}
        for name, margin in MARGINS.items()
    ]
    settings = changed(
        rewards=rewards,
        proposers=PROPOSERS,
        selection={"rule": rule},
        units={"size": 6, "batch_size": 6},
        output={"images": "none", "store_rejected": True},
    )
    return {name: section for name, section in settings.items() if name != "redenoise"}


@pytest.fixture(scope="module")
def majority(tmp_path_factory: pytest.TempPathFactory) -> Built:
    config = write_config(
        tmp_path_factory.mktemp("majority"), _settings("majority"), prompts=demo_prompts(6)
    )
    models = ResolvedModels(config)
    chosen = prompts_of(config, models)
    plan, prompts = plan_of(config, models, chosen)
    denoiser, rewards = demo_models()
    units = tuple(
        produce_unit(
            list(prompts.candidates(plan, plan.unit_range(unit))),
            denoiser,
            dict.fromkeys(MARGINS, rewards["scene"]),
            BuildSpec.of(plan),
        )
        for unit in range(plan.num_units)
    )
    return Built(config=config, plan=plan, prompts=prompts, dropped=chosen.dropped, units=units)


@pytest.fixture
def sealed(majority: Built, tmp_path: Path) -> tuple[LocalStore, Manifest]:
    store = LocalStore(tmp_path / "store")
    return store, majority.sealed_in(store.url)


def _outcomes(built: Built) -> list[Outcome]:
    return [outcome for unit in built.units for outcome in unit.outcomes]


def _gains(outcomes: Sequence[Outcome]) -> np.ndarray[Any, Any]:
    pairs = [(outcome.golden_rewards["a"], outcome.source_rewards["a"]) for outcome in outcomes]
    return np.array([golden - source for golden, source in pairs if golden and source])


def _fit(outcomes: Sequence[Outcome]) -> np.ndarray[Any, Any]:
    return np.array([not (outcome.reason or "").startswith("gate") for outcome in outcomes])


def test_every_candidate_took_what_the_plan_says(majority: Built) -> None:
    outcomes = _outcomes(majority)
    assert {outcome.forward_evaluations for outcome in outcomes} == {EVALUATIONS}
    assert {len(outcome.losing_proposals) for outcome in outcomes} == {4}


def test_ledger_has_the_winner_its_cost_and_the_scores_of_the_others(
    majority: Built, sealed: tuple[LocalStore, Manifest]
) -> None:
    store, manifest = sealed
    table = pq.read_table(store.root / manifest.ledger.key)
    assert table.schema.equals(ledger_schema(list(MARGINS)))
    for row, outcome in zip(table.to_pylist(), _outcomes(majority), strict=True):
        assert (row["proposal"], row["forward_evaluations"]) == (outcome.proposal, EVALUATIONS)
        losing = [loser.model_dump(mode="json") for loser in outcome.losing_proposals]
        assert row["losing_proposals"] == losing
    assert verify(store).problems == []


def test_plans_rule_decided_in_the_build(majority: Built) -> None:
    """With one score for all, the majority of three is that of the middle margin."""
    outcomes = _outcomes(majority)
    kept = [outcome.status == "kept" for outcome in outcomes]
    assert kept == (_fit(outcomes) & (_gains(outcomes) > 0.25)).tolist()


@pytest.mark.parametrize("rule", ["all", "majority", "weighted_sum"])
def test_plans_rule_and_weights_decide_when_it_is_selected_from_anew(
    majority: Built, tmp_path: Path, rule: RuleName
) -> None:
    """With one score for all a rule is a margin: the largest, the middle, the weighted mean."""
    built, outcomes = _with_rule(majority, rule), _outcomes(majority)
    gains, fit = _gains(outcomes), _fit(outcomes)
    quartiles = np.quantile(gains[fit], [0.2, 0.5, 0.8])
    margins = dict(zip(MARGINS, quartiles.tolist(), strict=True))
    needed = {
        "all": margins["c"],
        "majority": margins["b"],
        "weighted_sum": (margins["a"] + margins["b"] + 4 * margins["c"]) / 6,
    }
    expected = {name: int((fit & (gains > margin)).sum()) for name, margin in needed.items()}
    assert expected["all"] < expected["weighted_sum"] < expected["majority"] < len(gains)

    store = LocalStore(tmp_path / "store")
    built.sealed_in(store.url)
    made = select(store, margins, partial(map, partial(compact_in, store))).manifest
    assert made.funnel.kept == expected[rule]
    reason = "reward:" if rule == "all" else f"selection:{rule}"
    assert any(found.startswith(reason) for found in made.funnel.rejected)
    assert verify(store).problems == []


def _with_rule(built: Built, rule: RuleName) -> Built:
    """The same units under a plan of another rule; rule and weights decide nothing else."""
    selection = SelectionConfig(rule=rule)
    settings = built.plan.settings.model_copy(update={"selection": selection})
    plan: Plan = built.plan.model_copy(update={"settings": settings, "plan_id": ""})
    plan = plan.model_copy(update={"plan_id": plan.identity()})
    return replace(built, plan=plan)


def test_report_names_the_proposers_and_says_which_were_the_best(
    majority: Built, sealed: tuple[LocalStore, Manifest]
) -> None:
    store, manifest = sealed
    text = make_report(manifest, read_scores(store, manifest))
    steps = "1 of 8 steps at guidance 3 down and 1 back (first order)"
    assert (
        f"Golden noise: the best of redenoise ({steps}); zigzag (a zigzag along {steps}); "
        "trajectory (inversion of the source image at guidance 0 (first order)); "
        "random (2 random noises)." in text
    )
    assert f"Mean cost of a candidate: {EVALUATIONS} forward evaluations." in text
    winners = [str(outcome.proposal).partition("/")[0] for outcome in _outcomes(majority)]
    lines = text[text.index("## Proposals") :].splitlines()
    for name in ("redenoise", "zigzag", "trajectory", "random"):
        (row,) = (line for line in lines if line.startswith(f"| {name} "))
        assert int(row.split("|")[2]) == winners.count(name)
    # A golden image: all golden noises and their images, and the source image for trajectory.
    golden = next(line for line in text.splitlines() if line.startswith("| golden noise "))
    assert f"| {EVALUATIONS} |" in " ".join(golden.split())
