"""Tests of the pairs on a page: which ones, and that their pictures are those that are stored."""

from pathlib import Path

import numpy as np
import pytest

from pipeline.core.records import Split
from pipeline.evaluate.scores import read_scores
from pipeline.evaluate.set_page.pairs import SealedPairs, UnitPairs, choose_pairs, shown_pairs
from pipeline.reader import NoisePairDataset
from pipeline.storage.open import open_store
from tests.sealed import Built, manifest_of


def test_chosen_pairs_are_the_extremes_and_each_is_shown_once(sealed_folder: Path) -> None:
    store, manifest = open_store(str(sealed_folder)), manifest_of(sealed_folder)
    scores = read_scores(store, manifest)
    gain = scores.golden["oracle"] - scores.source["oracle"]
    chosen = choose_pairs(scores, "oracle", scores.kept, count=5)
    kept = np.flatnonzero(scores.kept)
    assert set(chosen.all()) <= set(kept.tolist())
    assert len(set(chosen.all())) == len(chosen.all())
    assert [gain[at] for at in chosen.gains] == sorted(gain[kept], reverse=True)[:5]
    losses = sorted(each for each in gain[kept] if each < 0)[:5]
    assert [gain[at] for at in chosen.losses] == losses
    assert len(chosen.random) == 5


def test_pairs_of_shards_and_of_units_are_those_that_readers_see(
    built: Built, sealed_folder: Path
) -> None:
    store, manifest = open_store(str(sealed_folder)), manifest_of(sealed_folder)
    scores = read_scores(store, manifest)
    expected = {
        sample["sample_id"]: sample
        for split in Split
        for sample in NoisePairDataset(str(sealed_folder), split.value)
    }
    wanted = [int(at) for at in np.flatnonzero(scores.kept)][::-3]
    for reader in (
        SealedPairs(store=store, manifest=manifest, scores=scores),
        UnitPairs(store=store, plan=built.plan),
    ):
        found = dict(reader.read(wanted))
        assert sorted(found) == sorted(wanted)
        for at, pair in found.items():
            assert pair.sample_id == scores.sample_ids[at]
            golden = expected[pair.sample_id]["golden_noise"].numpy()
            np.testing.assert_array_equal(pair.golden_noise, golden)


def test_pairs_without_a_reader_have_prompts_and_scores(built: Built, sealed_folder: Path) -> None:
    store, manifest = open_store(str(sealed_folder)), manifest_of(sealed_folder)
    scores = read_scores(store, manifest)
    prompt = built.prompts.prompts[1]
    (pair,) = shown_pairs(
        built.plan, built.prompts, scores, {"one": [3]}, {prompt: ("a", "b")}, None
    )
    assert (pair.prompt, pair.categories, pair.tiles) == (prompt, "a\nb", [])
    source, golden = scores.source["scene"][3], scores.golden["scene"][3]
    text = f"{source:.3f} → {golden:.3f} ({golden - source:+.3f})".replace("-", "−")
    assert pair.scores[0] == ("scene", text)


def test_units_beyond_the_limit_are_not_read(
    built: Built, sealed_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.evaluate.set_page.pairs._UNIT_BYTES", 1)
    reader = UnitPairs(store=open_store(str(sealed_folder)), plan=built.plan)
    kept = [o.candidate for unit in built.units for o in unit.outcomes if o.num_bytes]
    assert list(reader.read(kept[:1])) == []
