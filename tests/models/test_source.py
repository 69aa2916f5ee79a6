"""Sources of models: a folder, a file, or a commit of a hub, with the real client."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from pipeline.config.section import SourceConfig
from pipeline.core.errors import ModelError
from pipeline.core.identity import files_digest, folder_digest
from pipeline.models.source import SAFE_FILES, locate, matching, resolve_source
from tests.models.hub import COMMIT, REPOSITORY, Hub, point_to, serve

FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "tokenizer/vocab.txt": b"a\nb",
    "model.bin": b"a pickle",
    "modeling.py": b"raise SystemExit('code of a repository ran')",
    "README.md": b"# A card",
}
SOURCE = SourceConfig(hub=REPOSITORY, revision=COMMIT)
USED = {"config.json", "model.safetensors", "tokenizer/vocab.txt"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A local hub, and an empty cache."""
    with serve(FILES) as hub:
        point_to(hub, tmp_path / "cache", monkeypatch)
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The repository's files that are used, as a local folder."""
    for name in USED:
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(FILES[name])
    return tmp_path / "folder"


def _names(folder: Path) -> set[str]:
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_hub_only_weights_configurations_and_tokenizers_are_fetched(hub: Hub) -> None:
    assert _names(locate(SOURCE)) == USED == set(hub.bodies)


def test_hub_second_time_reads_the_cache_without_a_network(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = locate(SOURCE)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    assert locate(SOURCE) == first
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert locate(SOURCE) == first
    assert set(hub.bodies.values()) == {1}


def test_hub_digest_equals_that_of_a_folder_with_the_same_files(hub: Hub, folder: Path) -> None:
    local = SourceConfig(path=str(folder))
    assert resolve_source(SOURCE).digest == resolve_source(local).digest == folder_digest(folder)
    (folder / "other.onnx").write_bytes(b"beside it, and of no use")
    assert files_digest(folder, matching(folder, SAFE_FILES)) == resolve_source(SOURCE).digest
    assert resolve_source(local).digest != resolve_source(SOURCE).digest


def test_hub_other_files_in_the_cache_do_not_change_the_digest(hub: Hub) -> None:
    before = resolve_source(SOURCE).digest
    locate(SOURCE, ["*.bin"])
    assert "model.bin" in _names(locate(SOURCE))
    assert resolve_source(SOURCE).digest == before


def test_hub_single_file_is_fetched_alone_and_hashed(hub: Hub) -> None:
    source = SourceConfig(hub=REPOSITORY, revision=COMMIT, file="model.safetensors")
    assert locate(source).read_bytes() == FILES["model.safetensors"]
    assert set(hub.bodies) == {"model.safetensors"}
    assert resolve_source(source).digest == hashlib.sha256(FILES["model.safetensors"]).hexdigest()


def test_hub_pickle_is_fetched_only_if_named(hub: Hub) -> None:
    source = SourceConfig(hub=REPOSITORY, revision=COMMIT, file="model.bin")
    with pytest.raises(ModelError, match="pickles and code are not"):
        locate(source)
    assert locate(source, ["*.bin"]).read_bytes() == FILES["model.bin"]


@pytest.mark.parametrize("file", [None, "model.safetensors"])
def test_hub_without_network_reports_the_command_to_fetch_the_files(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, file: str | None
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    source = SourceConfig(hub=REPOSITORY, revision=COMMIT, file=file)
    with pytest.raises(ModelError) as caught:
        locate(source)
    message = str(caught.value)
    what = "model.safetensors " if file else ""
    assert f"`hf download {REPOSITORY} {what}--revision {COMMIT} " in message
    assert "--local-dir FOLDER" in message and "set path to it" in message
    assert ("--include" in message) == (file is None)
    assert not hub.bodies


def test_hub_licence_that_must_be_accepted_is_reported(hub: Hub) -> None:
    hub.licence_wanted = True
    with pytest.raises(ModelError, match=r"Accept its licence .* HF_TOKEN") as caught:
        locate(SOURCE)
    assert "hf download" in str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        SourceConfig(hub="somebody/else", revision=COMMIT),
        SourceConfig(hub=REPOSITORY, revision=COMMIT, file="no.safetensors"),
    ],
    ids=str,
)
def test_hub_missing_repository_or_file_is_named(hub: Hub, source: SourceConfig) -> None:
    with pytest.raises(ModelError, match=str(source)):
        locate(source)


def test_hub_processes_of_one_machine_fetch_each_file_once(hub: Hub, tmp_path: Path) -> None:
    code = (
        "from pipeline.models.source import *\n"
        f"print(resolve_source(SourceConfig(hub={REPOSITORY!r}, revision={COMMIT!r})).digest)"
    )
    env = {
        **os.environ,
        "HF_ENDPOINT": hub.url,
        "HF_HUB_CACHE": str(tmp_path / "cache"),
        "HF_HUB_OFFLINE": "0",
    }
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    digests = {process.communicate()[0].strip() for process in started}
    assert digests == {resolve_source(SOURCE).digest}
    assert hub.bodies == dict.fromkeys(USED, 1)


def test_local_file_and_the_same_file_of_a_folder_have_one_digest(folder: Path) -> None:
    alone = SourceConfig(path=str(folder / "model.safetensors"))
    within = SourceConfig(path=str(folder), file="model.safetensors")
    assert locate(alone) == locate(within) == folder / "model.safetensors"
    assert resolve_source(alone).digest == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize(
    ("place", "message"),
    [("nowhere", "no such model folder"), ("a.safetensors", "no such model file")],
)
def test_local_missing_is_named_with_the_machine(tmp_path: Path, place: str, message: str) -> None:
    with pytest.raises(ModelError, match=f"{tmp_path / place}: {message} on "):
        locate(SourceConfig(path=str(tmp_path / place)))


@pytest.mark.parametrize("revision", ["main", "v1.0", COMMIT[:7], COMMIT.upper(), COMMIT + "0"])
def test_source_revision_that_is_not_pinned_is_rejected_with_the_reason(revision: str) -> None:
    with pytest.raises(ValueError, match=r"is not pinned.* 40 hexadecimal digits .*ls-remote"):
        SourceConfig(hub=REPOSITORY, revision=revision)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "a", "hub": REPOSITORY, "revision": COMMIT}, "not both"),
        ({"hub": REPOSITORY}, "belong together"),
        ({"path": "a", "revision": COMMIT}, "belong together"),
        ({"hub": "https://hub/a/b", "revision": COMMIT}, "pattern"),
        ({"path": "a", "file": "../b"}, "must lie in the folder"),
        ({"path": "a", "file": "/b"}, "must lie in the folder"),
        ({"file": "b"}, "needs path or hub"),
    ],
    ids=str,
)
def test_source_with_contradicting_fields_is_rejected(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SourceConfig(**fields)
