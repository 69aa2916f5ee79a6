"""A unit of which a random sample is judged, with the demo's real models."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipeline.core.identity import is_sampled
from pipeline.core.records import Candidate, Status
from pipeline.stages.build_spec import BuildSpec
from pipeline.stages.unit import ProducedUnit, produce_unit
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from tests.sealed import SETTINGS, changed, demo_models, demo_prompts
from tests.stages.broken_models import WrappedDenoiser
from tests.stages.demo_unit import make_unit, stored_pairs

SHARE = 0.4
SETTINGS_OF_ALL = changed(
    rewards=[{**SETTINGS["rewards"][0], "margin": -1e6}, SETTINGS["rewards"][1]],
    gate={"max_norm_deviation": 1e6, "max_kurtosis_deviation": 1e6},
    units={"size": 20, "batch_size": 4},
    output={"images": "none"},
)
SAMPLED = {**SETTINGS_OF_ALL, "judging": {"policy": "sample", "share": SHARE}}
SCHEMA = PairSchema(latent_shape=(4, 8, 8), reward_names=("scene", "oracle"), schema_version=4)


class Unit(NamedTuple):
    """A unit with its spec and its candidates; ``predicted`` counts rows of the denoiser."""

    spec: BuildSpec
    candidates: list[Candidate]
    produced: ProducedUnit
    predicted: int

    @property
    def sample(self) -> list[int]:
        return [row for row, c in enumerate(self.candidates) if is_sampled(c.sample_id, SHARE)]


def _unit(folder: Path, settings: dict[str, Any]) -> Unit:
    spec, candidates = make_unit(folder, settings, prompts=demo_prompts(10))
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    produced = produce_unit(candidates, watched, rewards, spec)
    return Unit(spec, candidates, produced, watched.rows_predicted)


@pytest.fixture(scope="module")
def of_all(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return _unit(tmp_path_factory.mktemp("all"), SETTINGS_OF_ALL)


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return _unit(tmp_path_factory.mktemp("sampled"), SAMPLED)


def _by_id(produced: ProducedUnit) -> dict[str, NoisePair]:
    return {pair.sample_id: pair for pair in stored_pairs(produced)}


def test_sample_is_judged_and_the_others_are_stored_without_scores(sampled: Unit) -> None:
    assert 0 < len(sampled.sample) < len(sampled.candidates) == 20
    pairs = _by_id(sampled.produced)
    for row, (candidate, outcome) in enumerate(
        zip(sampled.candidates, sampled.produced.outcomes, strict=True)
    ):
        judged = row in sampled.sample
        pair = pairs[candidate.sample_id]
        scores = [*outcome.source_rewards.values(), *outcome.golden_rewards.values()]
        assert outcome.candidate == candidate.index
        assert outcome.judged is pair.judged is judged
        assert outcome.status is (Status.KEPT if judged else Status.UNJUDGED)
        assert all((score is not None) is judged for score in scores)
        assert pair.source_rewards == pytest.approx(outcome.source_rewards)
        assert pair.golden_rewards == pytest.approx(outcome.golden_rewards)
        assert outcome.num_bytes == pair.num_bytes
        assert outcome.noise_stats is not None
    assert list(pairs) == [candidate.sample_id for candidate in sampled.candidates]


def test_both_noises_are_those_of_a_plan_that_judges_all(of_all: Unit, sampled: Unit) -> None:
    everything, some = _by_id(of_all.produced), _by_id(sampled.produced)
    assert some.keys() == everything.keys()
    for name, pair in some.items():
        other = everything[name]
        assert pair.source_noise is not None and other.source_noise is not None
        assert pair.source_noise.tobytes() == other.source_noise.tobytes()
        assert pair.golden_noise.tobytes() == other.golden_noise.tobytes()
        assert pair.noise_stats == other.noise_stats


def test_scores_are_those_of_a_plan_that_judges_all_up_to_rounding(
    of_all: Unit, sampled: Unit
) -> None:
    for row in sampled.sample:
        some, everything = sampled.produced.outcomes[row], of_all.produced.outcomes[row]
        assert some.source_rewards == pytest.approx(everything.source_rewards, abs=1e-3)
        assert some.golden_rewards == pytest.approx(everything.golden_rewards, abs=1e-3)


def test_recorded_evaluations_are_those_that_the_network_made(of_all: Unit, sampled: Unit) -> None:
    # Guidance 1 costs one evaluation a step, and guidance 3 two.
    assert of_all.predicted == of_all.produced.forward_evaluations == 20 * (2 * 4 + 3)
    sample = len(sampled.sample)
    assert sampled.predicted == sampled.produced.forward_evaluations == 20 * 3 + sample * 2 * 4
    assert sum(o.forward_evaluations for o in sampled.produced.outcomes) == sampled.predicted
    assert of_all.spec.mean_evaluations() == 11
    assert sampled.spec.mean_evaluations() == pytest.approx(3 + SHARE * 8)


@pytest.mark.parametrize("gaps", ["sample", "others", "first batch", "one of each"])
def test_gaps_fail_and_leave_the_others_their_bytes(sampled: Unit, gaps: str) -> None:
    sample = sampled.sample
    others = [row for row in range(20) if row not in sample]
    skipped = {
        "sample": sample,
        "others": others,
        "first batch": [0, 1, 2, 3],
        "one of each": [sample[0], others[0]],
    }[gaps]
    reasons = {row: f"error:of_{row}" for row in skipped}
    produced = produce_unit(sampled.candidates, *demo_models(), sampled.spec, reasons)
    for row, outcome in enumerate(produced.outcomes):
        if row in reasons:
            assert (outcome.status, outcome.reason) == (Status.FAILED, reasons[row])
            assert outcome.judged is (row in sample)
        else:
            assert outcome == sampled.produced.outcomes[row]
    left = [p for p in stored_pairs(sampled.produced) if p.sample_id in _by_id(produced)]
    assert len(left) == 20 - len(skipped)
    assert SCHEMA.to_batch(stored_pairs(produced)).equals(SCHEMA.to_batch(left))


def test_unit_of_gaps_alone_is_computed_all_the_same(sampled: Unit) -> None:
    denoiser, rewards = demo_models()
    watched = WrappedDenoiser(denoiser)
    reasons = dict.fromkeys(range(20), "error:untried")
    produced = produce_unit(sampled.candidates, watched, rewards, sampled.spec, reasons)
    assert {outcome.reason for outcome in produced.outcomes} == {"error:untried"}
    assert stored_pairs(produced) == []
    assert watched.rows_predicted == sampled.predicted


def test_unjudged_noise_outside_the_gate_is_rejected(tmp_path: Path) -> None:
    strict = {**SAMPLED, "gate": {"max_norm_deviation": 1e-9, "max_kurtosis_deviation": 1e6}}
    unit = _unit(tmp_path, strict)
    others = [o for row, o in enumerate(unit.produced.outcomes) if row not in unit.sample]
    assert {(o.status, o.reason, o.judged) for o in others} == {
        (Status.REJECTED, "gate:norm", False)
    }
    assert stored_pairs(unit.produced) == []


def test_golden_noise_from_images_can_be_sampled_too(tmp_path: Path) -> None:
    settings = {name: section for name, section in SAMPLED.items() if name != "redenoise"}
    settings["proposers"] = [{"kind": "trajectory", "name": "back"}]
    unit = _unit(tmp_path / "sampled", settings)
    del settings["judging"]
    everything = _by_id(_unit(tmp_path / "all", settings).produced)
    for name, pair in _by_id(unit.produced).items():
        assert np.array_equal(pair.golden_noise, everything[name].golden_noise)
    assert unit.predicted == unit.produced.forward_evaluations
    assert unit.predicted == unit.spec.unjudged_evaluations() * 20 + len(unit.sample) * 2 * 4
