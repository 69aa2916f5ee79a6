"""Each kind of damage to a sealed data set is found and named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.errors import VerificationError
from pipeline.identity import readable_json, sha256
from pipeline.publish.verify import verify
from pipeline.records import Split
from pipeline.stages.pack import pack_pairs
from pipeline.storage import layout
from pipeline.storage.layout import Kind, Place
from pipeline.storage.manifest import Manifest
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Commit, commit_unit, read_receipt
from pipeline.storage.schema import NoisePair, PairSchema
from tests.sealed import Built, manifest_of, receipt_of


def _problems(folder: Path) -> list[str]:
    return [str(problem) for problem in verify(open_store(str(folder))).problems]


def _one(folder: Path) -> str:
    (problem,) = _problems(folder)
    return problem


def _manifest_key(folder: Path) -> str:
    return layout.manifest_key(manifest_of(folder).plan_id, 1)


def _flip(path: Path, position: int | None = None) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 if position is None else position] ^= 1
    path.write_bytes(data)


def _edit(path: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_bytes())
    edit(content)
    path.write_text(json.dumps(content), encoding="utf-8")


def _reseal(folder: Path, manifest: Manifest) -> None:
    """Store a manifest that tells other things, with ``_SUCCESS`` believing it."""
    data = readable_json(manifest.model_dump(mode="json"))
    (folder / layout.manifest_key(manifest.plan_id, 1)).write_bytes(data)
    _edit(folder / "_SUCCESS", lambda s: s["manifests"][0].update(sha256=sha256(data)))


def _with_pairs(built: Built, change: Callable[[NoisePair], NoisePair]) -> tuple[Built, NoisePair]:
    """The first stored pair changed, before anything was hashed."""
    unit = built.units[0]
    table = pa.ipc.open_file(pa.BufferReader(unit.data)).read_all()
    schema = PairSchema.of(table.schema)
    pairs = [pair for batch in table.to_batches() for pair in schema.to_pairs(batch)]
    pairs[0] = change(pairs[0])
    data = pack_pairs(pairs, schema, built.config.output.rows_per_batch)
    return replace(built, units=(replace(unit, data=data), *built.units[1:])), pairs[0]


def test_clean_set_has_no_problems_and_everything_is_counted(
    sealed_folder: Path, built: Built
) -> None:
    found = verify(open_store(str(sealed_folder)))
    kept = manifest_of(sealed_folder).funnel.kept
    assert found.problems == []
    assert (found.manifests, found.units) == (1, built.plan.num_units)
    assert found.candidates == built.plan.num_candidates
    assert found.pairs == 2 * kept > 0, "in both formats"
    files = [*(sealed_folder / "shards").rglob("*.*"), *(sealed_folder / "ledgers").rglob("*.*")]
    assert found.shards == len(files) - 1
    assert found.num_bytes == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
@pytest.mark.parametrize("damage", [_flip, Path.unlink], ids=["byte", "deleted"])
def test_shard_damaged_is_named(
    damaged: Path, shard_format: Any, damage: Callable[[Path], None]
) -> None:
    shard = manifest_of(damaged).shards[Split.TRAIN][shard_format][1]
    damage(damaged / shard.key)
    assert _one(damaged).startswith(shard.key)


@pytest.mark.parametrize("damage", [_flip, Path.unlink], ids=["byte", "deleted"])
def test_ledger_damaged_is_named(damaged: Path, damage: Callable[[Path], None]) -> None:
    key = manifest_of(damaged).ledger.key
    damage(damaged / key)
    assert _one(damaged).startswith(key)


@pytest.mark.parametrize("damage", [_flip, Path.unlink], ids=["byte", "deleted"])
def test_unit_object_damaged_is_named(
    damaged: Path, built: Built, damage: Callable[[Path], None]
) -> None:
    key = read_receipt(open_store(str(damaged)), built.plan.plan_id, 2).data_key
    damage(damaged / key)
    assert _one(damaged).startswith(key)


def test_receipt_deleted_is_named(damaged: Path, built: Built) -> None:
    key = layout.receipt_key(built.plan.plan_id, 1)
    (damaged / key).unlink()
    assert _one(damaged) == f"{key}: missing"


def test_receipt_that_is_no_receipt_is_named(damaged: Path, built: Built) -> None:
    key = layout.receipt_key(built.plan.plan_id, 1)
    (damaged / key).write_bytes(b'{"unit": 1}')
    assert _one(damaged).startswith(f"{key}: no receipt")


@pytest.mark.parametrize(
    "change",
    [
        lambda outcome: outcome["golden_rewards"].update(oracle=0.123),
        lambda outcome: outcome.update(truncated=True),
        lambda outcome: outcome["noise_stats"].update(std=1.5),
        lambda outcome: outcome.update(sample_id="0" * 16 + "-00000000"),
        lambda outcome: outcome.update(split="test" if outcome["split"] != "test" else "train"),
    ],
    ids=["score", "truncated", "statistics", "sample", "split"],
)
@pytest.mark.parametrize("status", ["kept", "rejected"])
def test_receipt_altered_is_named(
    damaged: Path, built: Built, status: str, change: Callable[[dict[str, Any]], None]
) -> None:
    unit = next(
        number
        for number, unit in enumerate(built.units)
        if any(outcome.status == status for outcome in unit.outcomes)
    )
    key = layout.receipt_key(built.plan.plan_id, unit)

    def edit(receipt: dict[str, Any]) -> None:
        change(next(o for o in receipt["outcomes"] if o["status"] == status))

    _edit(damaged / key, edit)
    assert any(problem.startswith(key) for problem in _problems(damaged))


def test_manifest_altered_is_named(damaged: Path, built: Built) -> None:
    key = layout.manifest_key(built.plan.plan_id, 1)
    _edit(damaged / key, lambda manifest: manifest["funnel"].update(kept=99))
    assert f"{key}: not the bytes that _SUCCESS promises" in _one(damaged)


def test_manifest_deleted_is_named(damaged: Path, built: Built) -> None:
    key = layout.manifest_key(built.plan.plan_id, 1)
    (damaged / key).unlink()
    assert key in _one(damaged)


def test_success_altered_is_named(damaged: Path, built: Built) -> None:
    _edit(damaged / "_SUCCESS", lambda s: s["manifests"][0].update(sha256="0" * 64))
    assert "not the bytes that _SUCCESS promises" in _one(damaged)
    (damaged / "_SUCCESS").write_bytes(b"{}")
    assert _one(damaged).startswith("_SUCCESS: ")


def test_success_missing_beside_a_manifest_is_named(damaged: Path) -> None:
    (damaged / "_SUCCESS").unlink()
    found = verify(open_store(str(damaged)))
    assert [str(problem) for problem in found.problems] == [
        "_SUCCESS: missing, and there is a manifest"
    ]
    assert found.manifests == 1 and found.pairs, "the rest is checked all the same"


def test_plan_that_success_leaves_out_is_named(damaged: Path) -> None:
    key = _manifest_key(damaged)
    _edit(damaged / "_SUCCESS", lambda success: success.update(manifests=[]))
    assert _one(damaged) == f"_SUCCESS: does not name {key}"


def test_store_without_manifest_is_not_sealed(built: Built, tmp_path: Path) -> None:
    built.commit(open_store(str(tmp_path)))
    with pytest.raises(VerificationError, match="nothing is sealed here"):
        verify(open_store(str(tmp_path)))


@pytest.mark.parametrize("name", ["plan.json", "prompts.parquet"])
def test_plan_deleted_is_named(damaged: Path, built: Built, name: str) -> None:
    (damaged / "plans" / built.plan.plan_id / name).unlink()
    assert f"plans/{built.plan.plan_id}/{name}" in _one(damaged)


def test_plan_altered_is_named(damaged: Path, built: Built) -> None:
    key = layout.plan_key(built.plan.plan_id)
    _edit(damaged / key, lambda plan: plan["settings"]["model"].update(name="another"))
    assert [problem.partition(": ")[0] for problem in _problems(damaged)] == [key, key]


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
    problems = _problems(tmp_path)
    said = f"{pair.sample_id}: source noise is not that of seed {pair.seed}"
    assert len(problems) == 2 and all(said in problem for problem in problems), "in both formats"
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
    problems = _problems(tmp_path)
    assert len(problems) == 2
    assert all(f"{pair.sample_id}: golden noise is not finite" in p for p in problems)


@pytest.mark.parametrize(
    ("change", "said"),
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
    built: Built, tmp_path: Path, change: Callable[[NoisePair], NoisePair], said: str
) -> None:
    forged, pair = _with_pairs(built, change)
    forged.sealed_in(str(tmp_path))
    problems = _problems(tmp_path)
    assert len(problems) == 2
    assert all(f"{pair.sample_id}: {said}" in problem for problem in problems)


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
    path.write_bytes(data)
    forged = shard.model_copy(update={"sha256": sha256(data), "num_bytes": len(data)})
    manifest.shards[Split.TRAIN]["arrow"][0] = forged
    _reseal(damaged, manifest)
    said = "not what its unit object holds"
    assert _problems(damaged) == [
        f"{shard.key}: {pairs[0].sample_id}: {said}",
        f"{shard.key}: {pairs[1].sample_id}: {said}",
        f"{_manifest_key(damaged)}: train: the formats arrow, webdataset hold different pairs",
    ]


@pytest.mark.parametrize("shard_format", ["arrow", "webdataset"])
def test_shard_that_is_rubbish_with_the_promised_digest_is_named(
    damaged: Path, shard_format: Any
) -> None:
    manifest = manifest_of(damaged)
    shard = manifest.shards[Split.TRAIN][shard_format][0]
    data = b"rubbish" * 1000
    (damaged / shard.key).write_bytes(data)
    forged = shard.model_copy(update={"sha256": sha256(data), "num_bytes": len(data)})
    manifest.shards[Split.TRAIN][shard_format][0] = forged
    _reseal(damaged, manifest)
    assert any(problem.startswith(f"{shard.key}: cannot be read") for problem in _problems(damaged))


def test_shard_left_out_of_the_manifest_names_the_first_pair_that_is_missing(
    damaged: Path, built: Built
) -> None:
    manifest = manifest_of(damaged)
    for shards in manifest.shards[Split.TRAIN].values():
        shards.pop()
    _reseal(damaged, manifest)
    kept = [o for u in built.units for o in u.outcomes if o.num_bytes and o.split is Split.TRAIN]
    left = kept[manifest.num_samples(Split.TRAIN)].sample_id
    assert _problems(damaged) == [
        f"{_manifest_key(damaged)}: train (arrow): pair {left} is in no shard",
        f"{_manifest_key(damaged)}: train (webdataset): pair {left} is in no shard",
    ]


def test_funnel_that_is_not_that_of_the_receipts_is_named(damaged: Path, built: Built) -> None:
    manifest = manifest_of(damaged)
    funnel = manifest.funnel.model_copy(update={"truncated": 3})
    _reseal(damaged, manifest.model_copy(update={"funnel": funnel}))
    assert "its funnel is not that of the receipts" in _one(damaged)


def test_problems_say_what_kind_of_object_is_at_fault(damaged: Path, built: Built) -> None:
    plan_id = built.plan.plan_id
    shard = manifest_of(damaged).shards[Split.TRAIN]["arrow"][0]
    (damaged / shard.key).unlink()
    (damaged / layout.receipt_key(plan_id, 2)).unlink()
    found = verify(open_store(str(damaged)))
    assert [problem.place for problem in found.problems] == [
        Place(kind=Kind.RECEIPT, plan_id=plan_id, unit=2),
        Place(kind=Kind.SHARD, plan_id=plan_id, version=1),
    ]


def test_orphans_are_listed_and_are_no_problems(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    garbage = layout.unit_key(built.plan.plan_id, 0, "0" * 64)
    pending = layout.shard_key(built.plan.plan_id, 2, Split.TEST, 0, "0" * 64, "arrow")
    elsewhere = layout.unit_key("f" * 16, 0, "0" * 64)
    for key in (garbage, pending, elsewhere, "notes.txt"):
        store.put(key, b"x")
    found = verify(store)
    assert found.problems == []
    assert [orphan.key for orphan in found.orphans] == [pending, garbage]


def test_disagreements_are_told_and_are_no_problems(damaged: Path, built: Built) -> None:
    store = open_store(str(damaged))
    late = receipt_of(built.plan, 1, built.units[0], attempt_id="late")
    assert commit_unit(store, late, built.units[0].data) is Commit.DIFFERENT
    found = verify(store)
    assert found.problems == []
    key = layout.disagreement_key(built.plan.plan_id, 1, "late")
    said = "unit 1: attempt late gave other pairs than attempt a, which counts"
    assert [str(differs) for differs in found.disagreements] == [f"{key}: {said}"]
    assert [orphan.key for orphan in found.orphans] == [late.data_key]
