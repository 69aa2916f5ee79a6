"""The list of dropped prompts of a sealed store: verified, repaired, and as garbage collected."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.core.errors import UserError, VerificationError
from pipeline.publish.gc import ReferenceStatus, find_unreferenced
from pipeline.publish.verify import verify
from pipeline.storage import layout
from pipeline.storage.open import open_store
from pipeline.storage.plans import dropped_key_of
from pipeline.workflows.repair import restore_dropped
from tests.publish.damage import flip
from tests.sealed import Built, write_config


def _key(built: Built) -> str:
    key = dropped_key_of(built.plan)
    assert key is not None
    return key


@pytest.mark.parametrize("damage", [Path.unlink, flip], ids=["missing", "altered"])
def test_dropped_damaged_is_found_and_restored_from_the_configuration(
    damaged: Path, built: Built, damage: Callable[[Path], object]
) -> None:
    store, key = open_store(str(damaged)), _key(built)
    before = store.get(key)
    assert verify(store).problems == []
    damage(damaged / key)
    assert [problem.key for problem in verify(store).problems] == [key]
    with pytest.raises(UserError, match="give the configuration of the build with --config"):
        list(restore_dropped(store, None))
    assert list(restore_dropped(store, built.config)) == [key]
    assert store.get(key) == before and list(restore_dropped(store, built.config)) == []


def test_dropped_is_not_restored_from_other_sources(
    damaged: Path, built: Built, tmp_path: Path
) -> None:
    store, key = open_store(str(damaged)), _key(built)
    (damaged / key).unlink()
    fewer = write_config(tmp_path / "fewer")
    with pytest.raises(VerificationError, match="the sources drop other prompts now"):
        list(restore_dropped(store, fewer))
    other = write_config(tmp_path / "other", prompts=["a red ring"])
    with pytest.raises(UserError, match="the configuration is that of plan"):
        list(restore_dropped(store, other))
    assert not (damaged / key).exists()


def test_dropped_of_another_attempt_is_garbage_once_the_plan_is_there(
    damaged: Path, built: Built
) -> None:
    store, plan_id = open_store(str(damaged)), built.plan.plan_id
    late = layout.dropped_key(plan_id, "0" * 64)
    early = layout.dropped_key("f" * 16, "0" * 64)
    for key in (late, early):
        store.put(key, b"another")
    found = {each.key: each.reference for each in find_unreferenced(store)}
    assert found == {late: ReferenceStatus.GARBAGE, early: ReferenceStatus.PENDING}
    (damaged / layout.plan_key(plan_id)).write_bytes(b"{")
    assert ReferenceStatus.GARBAGE not in {each.reference for each in find_unreferenced(store)}
