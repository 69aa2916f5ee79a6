"""Streams of ``datasets``: from a folder by the same call that streams from the hub; no network."""

import sys
from pathlib import Path

import huggingface_hub
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config.prompts import PromptSourceConfig
from pipeline.core.errors import PromptFileError
from pipeline.prompts.hub import read_hub, stream_data_set

PROMPTS = [f"prompt number {number}" for number in range(30)]
REVISION = "0123456789abcdef0123456789abcdef01234567"
SOURCE = PromptSourceConfig(name="s", hub="owner/name", revision=REVISION, column="caption")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a repository on the hub, with two splits in Parquet files."""
    folder = tmp_path_factory.mktemp("repository")
    for split, prompts in (("train", PROMPTS[:20]), ("test", PROMPTS[20:])):
        table = pa.table({"caption": [*prompts, None], "id": range(len(prompts) + 1)})
        pq.write_table(table, folder / f"{split}-00000-of-00001.parquet", row_group_size=7)
    return folder


def _stream(folder: Path, column: str = "caption", split: str = "train") -> list[str | None]:
    texts = stream_data_set(
        str(folder), column, where="here", revision=None, subset=None, split=split
    )
    return list(texts)


def test_stream_of_a_split_in_order(repository: Path) -> None:
    assert _stream(repository) == [*PROMPTS[:20], None]
    assert _stream(repository, split="test") == [*PROMPTS[20:], None]


def test_stream_wrong_column_names_those_there_are(repository: Path) -> None:
    with pytest.raises(PromptFileError, match="here: no column 'prompt' among 'caption', 'id'"):
        _stream(repository, column="prompt")
    with pytest.raises(PromptFileError, match="here: column 'id' contains int64, not text"):
        _stream(repository, column="id")


def test_hub_without_a_network_says_what_to_fetch_and_where_to_put_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(PromptFileError) as caught:
        list(read_hub(SOURCE))
    message = str(caught.value)
    assert message.startswith(f"owner/name@{REVISION}: Couldn't reach")
    command = f"hf download owner/name --repo-type dataset --revision {REVISION}"
    assert f"`{command} --local-dir FOLDER`" in message
    assert 'set path = "FOLDER' in message


def test_hub_folder_of_the_same_name_is_not_taken_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner" / "name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PromptFileError, match="a folder of that name"):
        list(read_hub(SOURCE))


def test_hub_without_the_library_says_how_to_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(PromptFileError, match=r"pip install 'noise-prompt-dataset\[hub\]'"):
        list(read_hub(SOURCE))
