"""Damage to shards is found and reported, also if every digest agrees."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.core.records import Split
from pipeline.storage import layout
from pipeline.storage.formats.arrow_shard import pack_pairs
from pipeline.storage.formats.pairs import NoisePair, PairSchema
from tests.publish.damage import Damage, flip, forge_shard, reseal
from tests.publish.problems import only_problem_in, problems_in
from tests.sealed import Built, manifest_of


def _with_pairs(built: Built, change: Callable[[NoisePair], NoisePair]) -> tuple[Built, NoisePair]:
    """Change the first stored pair before anything is hashed."""
    unit = built.units[0]
    table = pa.ipc.open_file(pa.BufferReader(unit.data)).read_all()
    schema = PairSchema.of(table.schema)
    pairs = [pair for batch in table.to_batches() for pair in schema.to_pairs(batch)]
    pairs[0] = change(pairs[0])
    data = pack_pairs(pairs, schema, built.config.output.rows_per_batch)
    return replace(built, units=(replace(unit, data=data), *built.units[1:])), pairs[0]


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
@pytest.mark.parametrize("damage", [flip, Path.unlink], ids=["byte", "deleted"])
def test_shard_damaged_is_named(damaged: Path, shard_format: Any, damage: Damage) -> None:
    shard = manifest_of(damaged).shards[Split.TRAIN][shard_format][1]
    damage(damaged / shard.key)
    assert only_problem_in(damaged).startswith(shard.key)


def test_source_noise_one_value_changed_before_all_hashing_is_named(
    built: Built, tmp_path: Path
) -> None:
    def change(pair: NoisePair) -> NoisePair:
        assert pair.source_noise is not None
        noise = pair.source_noise.copy()
        noise[3, 7, 7] = np.nextafter(noise[3, 7, 7], np.float16(9))
        return replace(pair, source_noise=noise)

    forged, pair = _with_pairs(built, change)
    manifest = forged.sealed_in(str(tmp_path))
    problems = problems_in(tmp_path)
    message = f"{pair.sample_id}: source noise is not that of seed {pair.seed}"
    assert len(problems) == 2 and all(message in problem for problem in problems), "in both formats"
    shards = [
        shard.key for formats in manifest.shards.values() for f in formats.values() for shard in f
    ]
    assert all(problem.partition(":")[0] in shards for problem in problems)


def test_golden_noise_not_finite_before_all_hashing_is_named(built: Built, tmp_path: Path) -> None:
    def change(pair: NoisePair) -> NoisePair:
        noise = pair.golden_noise.copy()
        noise[0, 0, 0] = np.nan
        return replace(pair, golden_noise=noise)

    forged, pair = _with_pairs(built, change)
    forged.sealed_in(str(tmp_path))
    problems = problems_in(tmp_path)
    assert len(problems) == 2
    assert all(f"{pair.sample_id}: golden noise is not finite" in p for p in problems)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pair: replace(pair, prompt="another prompt"), "seed or prompt"),
        (
            lambda pair: replace(pair, golden_rewards={"scene": 0.5, "oracle": 0.5}),
            "golden rewards",
        ),
    ],
    ids=["prompt", "score"],
)
def test_pair_that_its_receipt_does_not_know_is_named(
    built: Built, tmp_path: Path, change: Callable[[NoisePair], NoisePair], message: str
) -> None:
    forged, pair = _with_pairs(built, change)
    forged.sealed_in(str(tmp_path))
    problems = problems_in(tmp_path)
    assert len(problems) == 2
    assert all(f"{pair.sample_id}: {message}" in problem for problem in problems)


def test_shard_that_holds_another_golden_noise_than_its_unit_is_named(damaged: Path) -> None:
    manifest = manifest_of(damaged)
    shard = manifest.shards[Split.TRAIN]["arrow"][0]
    path = damaged / shard.key
    file = pa.ipc.open_file(pa.BufferReader(path.read_bytes()))
    schema = PairSchema.of(file.schema)
    table = file.read_all()
    pairs = [pair for batch in table.to_batches() for pair in schema.to_pairs(batch)]
    pairs[0], pairs[1] = (
        replace(pairs[0], golden_noise=pairs[1].golden_noise),
        replace(pairs[1], golden_noise=pairs[0].golden_noise),
    )
    data = pack_pairs(pairs, schema, 2)
    forged = forge_shard(damaged, data)
    key = layout.manifest_key(manifest.plan_id, 1)
    message = "not what its unit object holds"
    assert problems_in(damaged) == [
        f"{forged}: {pairs[0].sample_id}: {message}",
        f"{forged}: {pairs[1].sample_id}: {message}",
        f"{key}: train: the formats arrow, webdataset hold different pairs",
    ]


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_shard_that_is_rubbish_with_the_promised_digest_is_named(
    damaged: Path, shard_format: Any
) -> None:
    key = forge_shard(damaged, b"rubbish" * 1000, shard_format)
    assert any(problem.startswith(f"{key}: cannot be read") for problem in problems_in(damaged))


def test_shard_left_out_of_the_manifest_names_the_first_pair_that_is_missing(
    damaged: Path, built: Built
) -> None:
    manifest = manifest_of(damaged)
    for shards in manifest.shards[Split.TRAIN].values():
        lost = shards.pop().num_samples
    funnel = manifest.funnel
    rejected = {**funnel.rejected, "reward:scene": funnel.rejected["reward:scene"] + lost}
    funnel = funnel.model_copy(update={"kept": funnel.kept - lost, "rejected": rejected})
    reseal(damaged, manifest.model_copy(update={"funnel": funnel}))
    kept = [o for u in built.units for o in u.outcomes if o.num_bytes and o.split is Split.TRAIN]
    key = layout.manifest_key(manifest.plan_id, 1)
    left = kept[manifest.num_samples(Split.TRAIN)].sample_id
    assert problems_in(damaged) == [
        f"{key}: its funnel is not that of the receipts",
        f"{key}: train (arrow): pair {left} is in no shard",
        f"{key}: train (webdataset): pair {left} is in no shard",
    ]


def test_pieces_that_are_not_those_of_their_shard_are_named(damaged: Path) -> None:
    manifest = manifest_of(damaged)
    first, second, *_ = manifest.shards[Split.TRAIN]["arrow"]
    manifest.shards[Split.TRAIN]["arrow"][0] = first.model_copy(update={"pieces": second.pieces})
    reseal(damaged, manifest)
    assert f"the digests of the pieces of {first.key}" in only_problem_in(damaged)
