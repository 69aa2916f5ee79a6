"""Versions of a plan: which one is read, and errors for states of another version."""

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from benchmarks.sdxl_pairs import write_pairs
from pipeline.core.errors import UserError, VerificationError
from pipeline.core.records import Split
from pipeline.publish.prune import find_superseded, prune
from pipeline.reader import NoisePairDataset, NoisePairTable, Source
from pipeline.storage import layout
from pipeline.storage.open import open_store
from tests.reader.conftest import SHAPE
from tests.reader.reading import ids_of
from tests.two_versions import TwoVersions, _two_versions, two_versions

__all__ = ["_two_versions", "two_versions"]


def _remove(folder: Path, number: int) -> None:
    store = open_store(str(folder))
    for each in find_superseded(store, numbers=[number]):
        prune(store, each)


def _ids(folder: Path, **options: Any) -> list[str]:
    return [*ids_of(NoisePairDataset(str(folder), **options))]


def test_reader_and_table_read_the_requested_version(
    two_versions: TwoVersions, sealed_folder: Path
) -> None:
    folder, first, second = two_versions.folder, two_versions.first, two_versions.second
    old = _ids(sealed_folder)
    assert len(old) == first.num_samples(Split.TRAIN) > second.num_samples(Split.TRAIN) > 0
    assert _ids(folder, version=1) == old == _ids(folder, version={first.plan_id: 1})
    new = _ids(folder)
    assert new == _ids(folder, version=2) and set(new) < set(old)
    assert [row["sample_id"] for row in NoisePairTable(str(folder), version=1)] == old
    assert [row["sample_id"] for row in NoisePairTable(str(folder))] == new
    mixed = [Source(str(folder), version=1), Source(str(folder))]
    assert sorted(ids_of(NoisePairDataset(mixed))) == sorted(old + new)
    # Filters by row are of the version's ledger.
    gained = NoisePairDataset(str(folder), version=1, min_gain={"scene": 0.0})
    assert [*ids_of(gained)] == old


def test_missing_version_error_lists_the_versions(
    two_versions: TwoVersions,
) -> None:
    folder, first = two_versions.folder, two_versions.first
    with pytest.raises(UserError, match=r"has no version 3; there are 1, 2 \(current\)"):
        NoisePairDataset(str(folder), version=3)
    for wrong in (0, -1, True, "1", 1.0):
        with pytest.raises(UserError, match="a version is a number from 1, not"):
            NoisePairTable(str(folder), version=wrong)  # type: ignore[arg-type]  # a wrong type is the test
    with pytest.raises(UserError, match=f"plan 'x', which is not read; there are {first.plan_id}"):
        NoisePairDataset(str(folder), version={"x": 1})
    with pytest.raises(UserError, match=r"give version and unsigned to each Source"):
        NoisePairDataset([Source(str(folder))], version=1)
    _remove(folder, 1)
    with pytest.raises(UserError, match=r"version 1 of plan .* was removed; there is only 2"):
        NoisePairDataset(str(folder), version=1)


def test_one_number_for_several_plans_is_refused(tmp_path: Path) -> None:
    plans = [write_pairs(str(tmp_path), 8, latent_shape=SHAPE, seed=seed) for seed in (0, 1)]
    with pytest.raises(UserError, match=r"version 1 of which plan\? .*plans= or --plan"):
        NoisePairDataset(str(tmp_path), version=1)
    chosen = NoisePairDataset(str(tmp_path), version=1, plans=[plans[0].plan_id])
    assert len(chosen) == 8
    assert len(NoisePairDataset(str(tmp_path), version={plans[1].plan_id: 1})) == 16


def _change(manifest: dict[str, Any], *path: str | int, to: Callable[[Any], Any]) -> None:
    *parents, last = path
    for name in parents:
        manifest = manifest[name]  # type: ignore[index]  # lists and dictionaries alike
    manifest[last] = to(manifest[last])  # type: ignore[index]


@pytest.mark.parametrize(
    "path_and_change",
    [
        (("shards", "train", "arrow", 0, "num_samples"), lambda n: n + 1),
        (("shards", "train", "arrow"), lambda shards: shards[:-1]),
        (("shards", "train", "arrow"), lambda shards: shards[::-1]),
        (("shards", "train"), lambda formats: {"arrow": formats["arrow"]}),
        (("shards",), lambda splits: {"train": splits["train"]}),
        (("selection",), lambda _: {"oracle": 0.0}),
        (("funnel", "kept"), lambda n: n - 1),
        (("ledger", "num_rows"), lambda n: n - 1),
        (("ledger", "sha256"), lambda digest: digest[::-1]),
        (("plan", "settings", "sampling", "num_inference_steps"), lambda n: n + 1),
    ],
    ids=lambda value: ".".join(map(str, value[0])),
)
def test_superseded_manifest_that_contradicts_itself_is_refused(
    two_versions: TwoVersions,
    path_and_change: tuple[tuple[str | int, ...], Callable[[Any], Any]],
) -> None:
    """No stored digest covers it, so its values must agree with each other and with the plan."""
    folder, first = two_versions.folder, two_versions.first
    path = folder / layout.manifest_key(first.plan_id, 1)
    content = json.loads(path.read_bytes())
    _change(content, *path_and_change[0], to=path_and_change[1])
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(VerificationError, match=r"v1\.json: damaged: "):
        NoisePairDataset(str(folder), version=1)


@pytest.mark.parametrize("with_versions", [True, False])
def test_state_of_a_superseded_version_explains_how_to_continue(
    two_versions: TwoVersions, sealed_folder: Path, with_versions: bool
) -> None:
    folder, first = two_versions.folder, two_versions.first
    before = NoisePairDataset(str(sealed_folder), seed=1)
    complete = [*ids_of(before)]
    begun = [*ids_of(islice(before, 5))]
    state = before.state_dict()
    assert state["plan_versions"] == [{first.plan_id: 1}]
    if not with_versions:  # as earlier releases wrote states
        del state["plan_versions"]
    state = json.loads(json.dumps(state))
    pairs = NoisePairDataset(str(folder), seed=1)
    with pytest.raises(
        UserError, match=rf"version 1 of plan {first.plan_id} .* version 2 is read .*version=1"
    ):
        pairs.load_state_dict(state)
    again = NoisePairDataset(str(folder), seed=1, version=1)
    again.load_state_dict(state)
    assert [*begun, *ids_of(again)] == complete
    # And the other way round.
    newer = NoisePairDataset(str(folder), seed=1).state_dict()
    with pytest.raises(UserError, match=r"version 2 of plan .* version 1 is read .*version=2"):
        again.load_state_dict(newer)
    _remove(folder, 1)
    with pytest.raises(UserError, match="version 1 was removed, so this run cannot be continued"):
        pairs.load_state_dict(state)


def test_state_from_before_a_plan_was_added_continues_with_plans(tmp_path: Path) -> None:
    first = write_pairs(str(tmp_path), 40, latent_shape=SHAPE)
    before = NoisePairDataset(str(tmp_path), seed=1)
    complete = [*ids_of(before)]
    begun = [*ids_of(islice(before, 5))]
    state = before.state_dict()
    second = write_pairs(str(tmp_path), 40, latent_shape=SHAPE, seed=1)
    for each in (state, {name: v for name, v in state.items() if name != "plan_versions"}):
        with pytest.raises(
            UserError, match=rf"without plan {second.plan_id}, .*plans=\['{first.plan_id}'\]"
        ):
            NoisePairDataset(str(tmp_path), seed=1).load_state_dict(each)
        again = NoisePairDataset(str(tmp_path), seed=1, plans=[first.plan_id])
        again.load_state_dict(each)
        assert [*begun, *ids_of(again)] == complete


def test_state_of_other_data_in_the_same_versions_is_still_refused(
    two_versions: TwoVersions, pairs_folder: Path
) -> None:
    folder = two_versions.folder
    state = NoisePairDataset(str(pairs_folder), seed=1).state_dict()
    with pytest.raises(UserError, match="position in"):
        NoisePairDataset(str(folder), seed=1).load_state_dict(state)
    weighted = NoisePairDataset([Source(str(folder), 2.0)], seed=1).state_dict()
    with pytest.raises(UserError, match="something else: its data"):
        NoisePairDataset(str(folder), seed=1).load_state_dict(weighted)


@pytest.mark.parametrize("on_damage", ["raise", "skip"])
def test_version_that_is_removed_while_it_is_read_is_an_error_and_not_damage(
    two_versions: TwoVersions, on_damage: Any
) -> None:
    folder = two_versions.folder
    pairs = NoisePairDataset(str(folder), version=1, on_damage=on_damage)
    _remove(folder, 1)
    with pytest.raises(UserError, match=r"version 1 of plan .* was removed"):
        list(pairs)
