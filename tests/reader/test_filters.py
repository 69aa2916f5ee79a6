"""Filters, mixtures and views of a data set."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import NPDError, UserError
from pipeline.core.identity import file_sha256
from pipeline.reader import NoisePairDataset, Source
from pipeline.storage import layout
from tests.publish.damage import edit_json
from tests.reader.conftest import COUNT, SHAPE
from tests.reader.reading import ids_of, ledger_of, read_all
from tests.sealed import manifest_of

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")


@pytest.fixture(scope="module")
def other_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another plan, without source noises, whose reward has another name."""
    folder = tmp_path_factory.mktemp("other")
    write_pairs(str(folder), 50, latent_shape=SHAPE, seed=5, store_source=False, rewards=("hps",))
    return folder


@pytest.fixture(scope="module")
def two_plans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two plans in one store."""
    folder = tmp_path_factory.mktemp("two")
    for seed, rewards in ((0, ("image_reward",)), (1, ("image_reward", "aesthetic"))):
        write_pairs(
            str(folder), 40, latent_shape=SHAPE, seed=seed, shard_bytes=1280, rewards=rewards
        )
    return folder


_WORDS: dict[str | None, tuple[str, ...]] = {
    None: ("",),
    "^a (fox|owl) ": ("a fox ", "a owl "),
    "in fog": ("in fog",),
}
"""Texts of which a prompt holds at least one if it matches the regular expression."""


def _gain(row: dict[str, Any], name: str) -> np.float32:
    gain: np.float32 = np.float32(row["golden_rewards"][name]) - np.float32(
        row["source_rewards"][name]
    )
    return gain


@pytest.mark.parametrize(
    "options",
    [
        {"min_gain": {"image_reward": 1.0}},
        {"min_gain": {"image_reward": 0.5, "aesthetic": 0.2}},
        {"prompt": "^a (fox|owl) "},
        {"prompt": "in fog", "min_gain": {"aesthetic": -0.5}},
    ],
)
def test_filters_give_each_pair_that_passes_once(
    pairs_folder: Path, options: dict[str, Any]
) -> None:
    wanted = [
        row["sample_id"]
        for row in ledger_of(pairs_folder)
        if all(_gain(row, name) >= least for name, least in options.get("min_gain", {}).items())
        and any(words in row["prompt"] for words in _WORDS[options.get("prompt")])
    ]
    assert 0 < len(wanted) < COUNT
    url = str(pairs_folder)
    assert len(NoisePairDataset(url, **options)) == len(wanted)
    assert read_all(url, 1, 0, **options) == [wanted]
    ranks = read_all(url, 3, 2, seed=1, batch_size=4, remainder="keep", **options)
    assert sorted(sample for rank in ranks for sample in rank) == sorted(wanted)


def test_plans_are_chosen_by_id(two_plans: Path) -> None:
    samples = [*NoisePairDataset(str(two_plans))]
    plans = sorted({sample["plan_id"] for sample in samples})
    assert len(plans) == 2
    chosen = [*NoisePairDataset(str(two_plans), plans=[plans[1]], seed=1)]
    assert {sample["plan_id"] for sample in chosen} == {plans[1]} and len(chosen) == 40


def test_plans_with_other_rewards_collate_with_nan(two_plans: Path) -> None:
    pairs = NoisePairDataset(str(two_plans), seed=1, batch_size=80)
    (batch,) = pairs
    rewards = batch["golden_rewards"]
    assert set(rewards) == set(pairs.reward_names) == {"image_reward", "aesthetic"}
    assert int(rewards["aesthetic"].isnan().sum()) == 40
    assert not rewards["image_reward"].isnan().any()
    (collated,) = DataLoader(NoisePairDataset(str(two_plans), seed=1), batch_size=80)
    assert torch.equal(collated["golden_rewards"]["image_reward"].float(), rewards["image_reward"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_gain": {"image_reward": 99.0}}, r"no pair of split train is left of 203 with min_"),
        ({"prompt": "a zebra"}, "no pair of split train is left of 203 with prompt='a zebra'"),
        ({"prompt": "a (fox"}, "'a .fox' is not a regular expression: missing"),
        ({"min_gain": {"hps": 0.1}}, "has no reward 'hps'; there are image_reward, aesthetic"),
        ({"min_gain": {"image_reward": float("nan")}}, "min_gain of 'image_reward' is not a num"),
        ({"plans": ["0000"]}, "no plan '0000'; there are "),
        ({"plans": "0000"}, "plans is a list of names, not the text '0000'"),
        ({"view": "preference", "reward": "hps"}, "has no reward 'hps'"),
    ],
)
def test_invalid_filter_is_refused(
    pairs_folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        NoisePairDataset(str(pairs_folder), **options)


def test_newer_schema_version_error_asks_to_upgrade(pairs_copy: Path) -> None:
    edit_json(pairs_copy / "_SUCCESS", lambda success: success.update(schema_version=99))
    with pytest.raises(NPDError, match=r"_SUCCESS: written with schema_version 99, .* upgrade"):
        NoisePairDataset(str(pairs_copy))


def test_newer_manifest_version_error_asks_to_upgrade(pairs_copy: Path) -> None:
    key = layout.manifest_key(manifest_of(pairs_copy).plan_id, 1)
    edit_json(pairs_copy / key, lambda manifest: manifest.update(schema_version=5, new="field"))
    digest = file_sha256(pairs_copy / key)
    edit_json(pairs_copy / "_SUCCESS", lambda s: s["manifests"][0].update(sha256=digest))
    with pytest.raises(NPDError, match=r"v1\.json: written with schema_version 5, .* upgrade"):
        NoisePairDataset(str(pairs_copy))


def test_mixture_draws_each_source_by_its_weight(pairs_folder: Path, other_folder: Path) -> None:
    sources = [Source(str(pairs_folder)), Source(str(other_folder), weight=2.5)]
    pairs = NoisePairDataset(sources, seed=1, batch_size=8)
    assert len(pairs) == -(-(COUNT + 125) // 8) and pairs.num_samples == COUNT + 125
    batches = [*pairs]
    ids = [*ids_of(batches)]
    others = {row["sample_id"] for row in ledger_of(other_folder)}
    drawn = {each: ids.count(each) for each in {*ids}}
    assert len(drawn) == COUNT + 50
    assert {count for each, count in drawn.items() if each not in others} == {1}
    assert sorted(count for each, count in drawn.items() if each in others) == [2] * 25 + [3] * 25
    shares = [sum(each in others for each in batch["sample_id"]) for batch in batches[:-1]]
    assert min(shares) >= 2 and max(shares) <= 4, "about 3 of 8 in each batch"
    alone = {sample["sample_id"]: sample for sample in NoisePairDataset(str(other_folder))}
    for batch in batches:
        for row, sample_id in enumerate(batch["sample_id"]):
            if sample_id in others:
                assert torch.equal(batch["source_noise"][row], alone[sample_id]["source_noise"]), (
                    "rebuilt from the seed"
                )


def test_mixture_resumes_exactly(pairs_folder: Path, other_folder: Path) -> None:
    sources = [Source(str(pairs_folder), 0.5), Source(str(other_folder), 1.5)]
    pairs = NoisePairDataset(sources, seed=1)
    complete = [*ids_of(pairs)]
    begun = iter(pairs)
    first = [next(begun)["sample_id"] for _ in range(30)]
    ranks = []
    for rank in range(2):
        again = NoisePairDataset(sources, seed=1, rank=rank, world_size=2, remainder="keep")
        again.load_state_dict(pairs.state_dict())
        ranks.append([*ids_of(again)])
    assert [*first, *ranks[0], *ranks[1]] == [*complete[:30], *complete[30::2], *complete[31::2]]


def test_invalid_mixture_is_refused(pairs_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a weight is positive, not 0"):
        NoisePairDataset([Source(str(pairs_folder), 0)])
    with pytest.raises(UserError, match="no source"):
        NoisePairDataset([])
    write_pairs(str(tmp_path), 3, latent_shape=(4, 2, 2))
    with pytest.raises(
        UserError, match=r"several latent shapes .*\(4, 4, 4\) in plan .*\(4, 2, 2\)"
    ):
        NoisePairDataset([Source(str(pairs_folder)), Source(str(tmp_path))])


def test_latent_shape_is_that_of_the_pairs(pairs_folder: Path) -> None:
    assert NoisePairDataset(str(pairs_folder)).latent_shape == SHAPE


@pytest.mark.parametrize("batch_size", [None, 8])
def test_preference_view_orders_noises_by_the_reward(
    pairs_folder: Path, batch_size: int | None
) -> None:
    rows = {row["sample_id"]: row for row in ledger_of(pairs_folder)}
    complete = {sample["sample_id"]: sample for sample in NoisePairDataset(str(pairs_folder))}
    pairs = NoisePairDataset(
        str(pairs_folder), seed=1, view="preference", reward="aesthetic", batch_size=batch_size
    )
    winners = []
    for given in pairs:
        assert not {"source_noise", "golden_noise", "golden_rewards"} & set(given)
        ids = [given["sample_id"]] if batch_size is None else given["sample_id"]
        for at, sample_id in enumerate(ids):
            winner, loser, gap = (
                given[name] if batch_size is None else given[name][at]
                for name in ("winner_noise", "loser_noise", "reward_gap")
            )
            gain = _gain(rows[sample_id], "aesthetic")
            names = ("golden_noise", "source_noise")
            best, worst = names if gain >= 0 else reversed(names)
            winners.append(best)
            assert torch.equal(winner, complete[sample_id][best])
            assert torch.equal(loser, complete[sample_id][worst])
            assert float(gap) == pytest.approx(abs(gain), abs=1e-6)
    assert len(winners) == COUNT and set(winners) == {"golden_noise", "source_noise"}
