"""Tests of the report and picture of a real sealed data set, and of a plan's estimate."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from pipeline.core.errors import UserError, VerificationError
from pipeline.evaluate.controls import plain_guidance
from pipeline.evaluate.document import Table, markdown_table
from pipeline.evaluate.estimate import estimate
from pipeline.evaluate.examples import (
    QUANTILES,
    ExamplePair,
    draw_grid,
    example_pairs,
    shown_reward,
)
from pipeline.evaluate.report import make_report
from pipeline.evaluate.scores import read_scores
from pipeline.models.resolved_models import ResolvedModels
from pipeline.reader import NoisePairDataset
from pipeline.storage.formats.pairs import REWARDS
from pipeline.storage.open import open_store
from pipeline.workflows.report import report_plan
from tests.sealed import Built, changed, demo_models, manifest_of, write_config
from tests.stages.pairs import make_pairs


def test_scores_are_those_of_the_ledger(sealed_folder: Path) -> None:
    manifest = manifest_of(sealed_folder)
    rows = pq.read_table(sealed_folder / manifest.ledger.key).to_pylist()
    scores = read_scores(open_store(str(sealed_folder)), manifest)
    assert scores.kept.tolist() == [row["status"] == "kept" for row in rows]
    assert scores.prompt_ids.tolist() == [row["prompt_id"] for row in rows]
    assert scores.std.tolist() == [row["noise_stats"]["std"] for row in rows]
    for name in ("scene", "oracle"):
        assert scores.golden[name].tolist() == [row["golden_rewards"][name] for row in rows]
    assert scores.judged().all()


def test_report_twice_is_the_same_and_has_funnel_gains_and_controls(damaged: Path) -> None:
    store, manifest = open_store(str(damaged)), manifest_of(damaged)
    first, second = (report_plan(store, manifest, None, None) for _ in range(2))
    assert first == second
    funnel = manifest.funnel
    assert f"{funnel.kept_rate:.1%}" in first.text and str(funnel.candidates) in first.text
    for expected in ("independent seed", "best of 2 seeds", "same filter", "oracle"):
        assert expected in first.text
    assert store.get(first.keys[0]).decode() == first.text
    assert store.get(first.keys[1]) == first.picture


def test_report_mean_gain_is_that_of_the_ledger(sealed_folder: Path) -> None:
    manifest = manifest_of(sealed_folder)
    scores = read_scores(open_store(str(sealed_folder)), manifest)
    expected = np.mean(scores.golden["scene"] - scores.source["scene"])
    line = next(
        line
        for line in make_report(manifest, scores).splitlines()
        if line.startswith("| golden noise ") and "scene" in line
    )
    assert f"{expected:+.3f} [" in line and f" {len(scores.kept)} |" in line


def test_report_without_judged_candidates_is_only_the_funnel(sealed_folder: Path) -> None:
    manifest = manifest_of(sealed_folder)
    scores = read_scores(open_store(str(sealed_folder)), manifest)
    for column in (*scores.source.values(), scores.std, scores.kurtosis):
        column[:] = np.nan
    assert "## Funnel" in make_report(manifest, scores)


def test_report_with_one_judged_seed_a_prompt_leaves_the_seed_controls_out(
    sealed_folder: Path,
) -> None:
    manifest = manifest_of(sealed_folder)
    scores = read_scores(open_store(str(sealed_folder)), manifest)
    scores.source["scene"][1::2] = np.nan
    text = make_report(manifest, scores)
    assert "golden noise" in text and "control: independent seed" not in text


def test_plain_guidance_of_the_plans_own_scale_is_the_standard_image(
    sealed_folder: Path, built: Built
) -> None:
    scores = read_scores(open_store(str(sealed_folder)), manifest_of(sealed_folder))
    sampling = built.config.sampling
    gains = plain_guidance(*demo_models(), built.plan, built.prompts, scores, sampling)
    for gain in gains.values():
        assert gain is not None and gain.num_pairs == built.plan.num_prompts
        # The same images but for the rounding of other batches, on a scale of tens.
        assert gain.gain.value == pytest.approx(0, abs=0.05)


def test_guidance_control_of_another_configuration_is_refused(
    sealed_folder: Path, tmp_path: Path
) -> None:
    config = write_config(tmp_path, changed(prompts={"seed": 1}))
    with pytest.raises(UserError, match="the configuration does not belong to plan"):
        report_plan(open_store(str(sealed_folder)), manifest_of(sealed_folder), config, 2.0)


def test_estimate_counts_what_the_build_then_did(built: Built) -> None:
    models = ResolvedModels(built.config)
    found = estimate(built.plan, built.prompts, built.config, models)
    assert (found.candidates, found.units) == (built.plan.num_candidates, len(built.units))
    did = sum(unit.forward_evaluations for unit in built.units)
    assert found.candidates * found.evaluations_per_candidate == did
    pairs = [o.num_bytes for unit in built.units for o in unit.outcomes if o.num_bytes]
    assert max(pairs) <= found.bytes_per_pair, "images that do not compress are the most"
    assert found.seconds_per_candidate > 0


def _example(source: float | None, golden: float | None) -> ExamplePair:
    """Return a pair of a red source and a blue golden image with these scores under "scene"."""
    pair = make_pairs(1)[0]
    made = replace(
        pair,
        source_image=_png("#ff0000"),
        golden_image=_png("#0000ff"),
        source_rewards={"scene": source},
        golden_rewards={"scene": golden},
    )
    return ExamplePair(pair=made, quantile=0.5)


def _png(colour: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), colour).save(buffer, "PNG")
    return buffer.getvalue()


def _colours(picture: bytes, box: tuple[int, int, int, int] | None = None) -> dict[object, int]:
    with Image.open(io.BytesIO(picture)) as image:
        colours = image.convert("RGB").crop(box).getcolors(1 << 24)
    assert colours is not None
    return {colour: count for count, colour in colours}


@pytest.mark.parametrize(("pairs", "rows"), [(1, 1), (2, 1), (5, 3), (6, 3)])
def test_grid_shows_every_pair_in_rows_of_two(pairs: int, rows: int) -> None:
    data = draw_grid([_example(0.0, 1.0)] * pairs, "title", "scene")
    assert data == draw_grid([_example(0.0, 1.0)] * pairs, "title", "scene")
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "PNG"
        # Two pairs of two 200-pixel tiles in a row; 22-pixel lines of text.
        assert picture.size == (2 * (2 * 200 + 10 + 36), rows * (200 + 88 + 18) + 44)
    found = _colours(data)
    assert (found[(255, 0, 0)], found[(0, 0, 255)]) == (pairs * 200**2, pairs * 200**2)


@pytest.mark.parametrize(
    ("source", "golden", "framed"),
    [(0.0, 1.0, "right"), (1.0, 0.0, "left"), (1.0, 1.0, None), (None, 1.0, None)],
)
def test_grid_frames_the_image_that_the_reward_scores_higher(
    source: float | None, golden: float | None, framed: str | None
) -> None:
    data = draw_grid([_example(source, golden)], "title", "scene")
    tiles = (88, 289)  # rows of pixels that hold the tiles and no text
    for side, columns in (("left", (0, 223)), ("right", (223, 450))):
        box = (columns[0], tiles[0], columns[1], tiles[1])
        assert ((18, 129, 58) in _colours(data, box)) == (side == framed)


def test_examples_are_the_kept_pairs_at_fixed_quantiles_of_the_gain(sealed_folder: Path) -> None:
    manifest = manifest_of(sealed_folder)
    store = open_store(str(sealed_folder))
    found = example_pairs(store, manifest, read_scores(store, manifest), "oracle")
    kept = [
        pair
        for split in ("train", "validation", "test")
        for pair in NoisePairDataset(str(sealed_folder), split, columns=("sample_id", *REWARDS))
    ]
    gains = {
        p["sample_id"]: p["golden_rewards"]["oracle"] - p["source_rewards"]["oracle"] for p in kept
    }
    shown = [example.pair.sample_id for example in found]
    ordered = sorted(gains.values())
    expected = np.quantile(ordered, QUANTILES, method="lower")
    assert [gains[sample_id] for sample_id in shown] == expected.tolist()
    assert len(set(shown)) == len(QUANTILES), "each pair is shown once"
    for example in found:
        assert example.pair.golden_image is not None


def test_examples_are_ranked_by_a_reward_that_selected_nothing(built: Built) -> None:
    assert shown_reward(built.plan) == "oracle"


def test_examples_of_a_ledger_and_shards_that_disagree_are_refused(damaged: Path) -> None:
    manifest = manifest_of(damaged)
    shards = {
        split: {name: shards[::-1] for name, shards in formats.items()}
        for split, formats in manifest.shards.items()
    }
    store = open_store(str(damaged))
    mixed = manifest.model_copy(update={"shards": shards})
    with pytest.raises(VerificationError, match="the ledger names"):
        example_pairs(store, mixed, read_scores(store, mixed), "oracle")


def test_table_columns_are_aligned() -> None:
    table = Table(["", "x"], [["long name", "1"], ["a", "1000"]])
    lines = markdown_table(table).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].endswith("|    1 |") and lines[1].endswith("---: |")
