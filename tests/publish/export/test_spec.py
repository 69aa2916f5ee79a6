"""Invalid options of an export."""

from pathlib import Path

import pytest

from pipeline.core.errors import UserError
from pipeline.core.records import Split
from pipeline.publish.export import Licences, specify_export
from pipeline.storage.open import open_store
from tests.sealed import Built, changed, demo_prompts
from tests.sealed import build as build_plan


def test_spec_without_splits_takes_those_that_hold_pairs(
    sealed_folder: Path, bare_folder: Path
) -> None:
    assert specify_export(open_store(str(sealed_folder)), "parquet").splits == tuple(Split)
    assert specify_export(open_store(str(bare_folder)), "parquet").splits == (Split.TRAIN,)


def test_spec_takes_splits_in_their_own_order_and_once(sealed_folder: Path) -> None:
    spec = specify_export(open_store(str(sealed_folder)), "parquet", ["test", "train", "test"])
    assert spec.splits == (Split.TRAIN, Split.TEST)


@pytest.mark.parametrize(
    ("format_name", "splits", "message"),
    [
        ("lmdb", (), "no format 'lmdb'; there are golden-noise-npz, webdataset, parquet, mds, hf"),
        ("parquet", ("training",), "no split 'training'; there are train, validation, test"),
        ("parquet", ("test",), "the split 'test' of plan .* holds no pairs"),
    ],
)
def test_spec_of_what_is_not_there_is_refused(
    bare_folder: Path, format_name: str, splits: tuple[str, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        specify_export(open_store(str(bare_folder)), format_name, splits)


def test_spec_from_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing is sealed here"):
        specify_export(open_store(str(tmp_path)), "parquet")


def test_spec_of_a_plan_without_pairs_is_refused(tmp_path: Path) -> None:
    path = changed()["rewards"][0]["path"]
    rewards = [{"name": "scene", "kind": "scene", "path": path, "margin": 1000.0}]
    built = build_plan(tmp_path / "config", changed(rewards=rewards), prompts=demo_prompts(1))
    built.sealed_in(str(tmp_path / "sealed"))
    with pytest.raises(UserError, match="kept no pairs: there is nothing to export"):
        specify_export(open_store(str(tmp_path / "sealed")), "parquet")


def test_spec_among_several_plans_needs_the_name_of_one(
    built: Built, damaged: Path, tmp_path: Path
) -> None:
    other = build_plan(tmp_path / "config", changed(prompts={"seed": 8}), prompts=demo_prompts(2))
    other.sealed_in(str(damaged))
    store = open_store(str(damaged))
    with pytest.raises(UserError, match=f"name one with --plan: .*{other.plan.plan_id}"):
        specify_export(store, "parquet")
    for each in (built, other):
        made = specify_export(store, "parquet", plan_id=each.plan.plan_id)
        assert made.manifest.plan_id == each.plan.plan_id
    with pytest.raises(UserError, match="no plan 'none' is sealed"):
        specify_export(store, "parquet", plan_id="none")


def test_licences_for_a_format_without_a_card_are_refused(sealed_folder: Path) -> None:
    with pytest.raises(UserError, match="parquet has no card to write licences into"):
        specify_export(open_store(str(sealed_folder)), "parquet", licences=Licences(data="mit"))


@pytest.mark.parametrize("name", ["", "MIT", "cc by", 'mit"\nlicense: other'])
def test_licence_that_is_no_identifier_is_refused(sealed_folder: Path, name: str) -> None:
    with pytest.raises(UserError, match="is no licence identifier"):
        specify_export(open_store(str(sealed_folder)), "hf", licences=Licences(data=name))
