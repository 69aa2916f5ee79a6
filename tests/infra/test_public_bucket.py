"""Reading a public bucket of a real server without credentials."""

import json
import pickle
import secrets
from pathlib import Path

import pytest
from torch.utils.data import DataLoader
from typer.testing import CliRunner

from infra.storage.seaweedfs import SeaweedFS
from pipeline.cli.app import app
from pipeline.core.errors import AccessDeniedError, PermanentStoreError, UserError
from pipeline.reader import Cache, NoisePairDataset, NoisePairTable, Source
from pipeline.storage.open import open_store
from tests.infra.identities import make_public
from tests.reader.reading import ids_of
from tests.sealed import built, sealed_folder
from tests.two_versions import TwoVersions, _two_versions, two_versions

__all__ = ["_two_versions", "built", "sealed_folder", "two_versions"]

PUBLIC = "npd-public"


@pytest.fixture
def public_url(
    s3_server: SeaweedFS, s3_env: None, two_versions: TwoVersions, monkeypatch: pytest.MonkeyPatch
) -> str:
    """A set with two versions that anyone may read but not list. No credentials are set."""
    s3_server.create_bucket(PUBLIC)
    make_public(s3_server, PUBLIC)
    url = f"s3://{PUBLIC}/{secrets.token_hex(4)}"
    store, local = open_store(url), two_versions.store
    for info in local.list(""):
        store.put(info.key, local.get(info.key))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    return url


def test_public_set_is_read_by_a_reader_its_workers_and_a_table(
    public_url: str, two_versions: TwoVersions, tmp_path: Path
) -> None:
    cache = Cache(tmp_path / "cache")
    expected = [*ids_of(NoisePairDataset(str(two_versions.folder)))]
    pairs = NoisePairDataset(public_url, unsigned=True, cache=cache, batch_size=4)
    copy = pickle.loads(pickle.dumps(pairs))
    for method in ("fork", "spawn"):
        # Workers fetch: nothing is in the cache yet.
        for path in cache.folder.glob("*"):
            path.unlink()
        loader = DataLoader(copy, batch_size=None, num_workers=1, multiprocessing_context=method)
        assert [*ids_of(loader)] == expected
    table = NoisePairTable(public_url, unsigned=True, cache=cache)
    assert [row["sample_id"] for row in table] == expected
    source = Source(public_url, version=1, unsigned=True)
    older = [*ids_of(NoisePairDataset([source], cache=cache))]
    assert older == [*ids_of(NoisePairDataset(str(two_versions.folder), version=1))]
    with pytest.raises(UserError, match="current one is 2; these credentials may not list"):
        NoisePairDataset(public_url, version=7, unsigned=True, cache=cache)


def test_reading_without_credentials_points_to_unsigned(public_url: str) -> None:
    with pytest.raises(PermanentStoreError, match="unsigned=True, or --unsigned"):
        NoisePairDataset(public_url)
    with pytest.raises(UserError, match="unsigned is for s3:// URLs"):
        open_store("/tmp/folder", unsigned=True)


def test_rights_that_are_not_public_are_denied(public_url: str) -> None:
    store = open_store(public_url, unsigned=True)
    for call in (lambda: store.put("a", b""), lambda: store.delete("_SUCCESS")):
        with pytest.raises(AccessDeniedError, match="leave out unsigned"):
            call()
    with pytest.raises(AccessDeniedError, match="leave out unsigned"):
        list(store.list(""))
    with pytest.raises(AccessDeniedError, match="not public, or does not exist"):
        open_store("s3://npd-tests/x", unsigned=True).get("a")


def test_commands_that_read_need_neither_credentials_nor_a_listing(
    public_url: str, two_versions: TwoVersions, tmp_path: Path
) -> None:
    def npd(*arguments: object) -> str:
        ended = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=False)
        assert ended.exit_code == 0, ended.output
        return ended.output

    shown = npd("status", public_url, "--unsigned")
    assert f"version 2 (current): {two_versions.second.funnel.kept} pairs" in shown
    assert "these credentials may not list the store" in shown
    verified = npd("verify", public_url, "--unsigned")
    assert "orphans and disagreements were not looked for" in verified
    assert " 0 problems\n" in verified
    assert "0 problems" in npd("verify", public_url, "--unsigned", "--version", 1)
    npd("report", public_url, "--unsigned", "--out", tmp_path / "report")
    out = ("--format", "parquet", "--version", 1)
    npd("export", public_url, tmp_path / "export", "--unsigned", *out)
    described = json.loads((tmp_path / "export" / "export.json").read_bytes())
    assert described["version"] == 1
