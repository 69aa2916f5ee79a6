"""Digests of large model files: computed once on a machine, and again for every change."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import Mock

import pytest

from pipeline.config.section import SourceConfig
from pipeline.core.errors import UserError
from pipeline.core.identity import file_sha256, folder_digest
from pipeline.models import kept_digests
from pipeline.models.kept_digests import HASH_MODELS, kept_sha256
from pipeline.models.source import resolve_source

SIZE = 16 * 2**20
OLD_NS = 10**18
"""A time of the last write in 2001."""


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Mock:
    """Counts the files that are read. All files are old enough to be kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(HASH_MODELS, raising=False)
    monkeypatch.setattr(kept_digests, "_SETTLED_NS", -(10**18))
    kept_digests._warn.cache_clear()
    counter = Mock(wraps=file_sha256)
    monkeypatch.setattr(kept_digests, "file_sha256", counter)
    return counter


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    _write(path, b"one")
    return path


def _write(path: Path, content: bytes) -> None:
    """Write a sparse file of ``SIZE`` bytes in place, and restore the time of the last write."""
    with path.open("r+b" if path.exists() else "wb") as file:
        file.write(content)
        file.truncate(SIZE)
    os.utime(path, ns=(OLD_NS, OLD_NS))


def _expected(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _record(tmp_path: Path) -> Path:
    (record,) = (tmp_path / "cache" / "noise-prompt-dataset").glob("digests-*/*.json")
    return record


def test_digest_is_computed_once_and_again_after_each_change(hashed: Mock, weights: Path) -> None:
    for _ in range(2):
        assert kept_sha256(weights) == _expected(weights)
    assert hashed.call_count == 1
    # In place, with the same size and the restored time of the last write.
    _write(weights, b"two")
    assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 2
    other = weights.with_name("other")
    _write(other, b"six")
    other.replace(weights)
    assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 3
    # The hub's snapshots are links.
    (weights.parent / "link").symlink_to(weights)
    assert kept_sha256(weights.parent / "link") == _expected(weights) and hashed.call_count == 3


def test_digests_of_folder_and_file_use_the_kept_one(
    hashed: Mock, weights: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    weights = weights.rename(folder / weights.name)
    by_folder, by_file = (
        [resolve_source(SourceConfig(path=str(place))).digest for _ in range(2)]
        for place in (folder, weights)
    )
    assert by_folder == [folder_digest(folder)] * 2 and by_file == [_expected(weights)] * 2
    assert hashed.call_count == 1


def test_two_at_once_compute_a_digest_once(hashed: Mock, weights: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        digests = list(pool.map(kept_sha256, [weights] * 4))
    assert set(digests) == {_expected(weights)} and hashed.call_count == 1


def test_file_that_changed_a_moment_ago_is_not_kept(
    hashed: Mock, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept_digests, "_SETTLED_NS", 10**12)
    kept_sha256(weights)
    kept_sha256(weights)
    assert hashed.call_count == 2


def test_file_that_changes_while_it_is_read_is_not_kept(
    hashed: Mock, weights: Path, tmp_path: Path
) -> None:
    def change_after(path: Path) -> str:
        digest = file_sha256(path)
        _write(path, b"new")
        return digest

    hashed.side_effect = change_after
    kept_sha256(weights)
    assert _record(tmp_path).read_bytes() == b""


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[:-1],
        lambda text: text.replace('"sha256":"', '"sha256":"0', 1),
        lambda text: "[" * 4096,
        lambda text: "\0" * len(text),
        lambda text: "[]",
        lambda text: json.dumps({"sha256": "0" * 64}),
    ],
    ids=["empty", "cut", "digest", "nested", "zeros", "list", "part"],
)
def test_damaged_record_is_computed_again(
    hashed: Mock, weights: Path, tmp_path: Path, damage: Callable[[str], str]
) -> None:
    kept_sha256(weights)
    record = _record(tmp_path)
    record.write_text(damage(record.read_text()))
    assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 2
    assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 2


@pytest.mark.parametrize("place", ["record", "folder"])
def test_record_that_others_can_write_is_not_used(
    hashed: Mock, weights: Path, tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    kept_sha256(weights)
    record = _record(tmp_path)
    (record if place == "record" else record.parent).chmod(0o777)
    with caplog.at_level(logging.WARNING):
        assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 2
    assert "cannot be kept" in caplog.text and "only this user can write" in caplog.text


def test_linked_record_is_not_followed(hashed: Mock, weights: Path, tmp_path: Path) -> None:
    kept_sha256(weights)
    record = _record(tmp_path)
    victim = tmp_path / "victim"
    record.rename(victim)
    record.symlink_to(victim)
    before = victim.read_bytes()
    assert kept_sha256(weights) == _expected(weights) and hashed.call_count == 2
    assert victim.read_bytes() == before


def test_cache_that_cannot_be_written_costs_time_only(
    hashed: Mock, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "cache").write_text("a file")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert kept_sha256(weights) == _expected(weights)
    assert hashed.call_count == 2
    assert len(caplog.records) == 1 and str(tmp_path / "cache") in caplog.text


def test_variable_distrusts_kept_digests(
    hashed: Mock, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept_sha256(weights)
    monkeypatch.setenv(HASH_MODELS, "always")
    kept_sha256(weights)
    assert hashed.call_count == 2
    monkeypatch.setenv(HASH_MODELS, "1")
    with pytest.raises(UserError, match=r"NPD_HASH_MODELS is '1'; set it to 'always'"):
        kept_sha256(weights)


def test_missing_file_is_its_own_error(hashed: Mock, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing"):
        kept_sha256(tmp_path / "nothing")
