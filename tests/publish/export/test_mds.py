"""MDS export: read by the library if it is installed, rejected otherwise."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.core.records import Split
from tests.publish.export.exports import SHAPE, export_to, our_samples

needs_streaming = pytest.mark.skipif(
    find_spec("streaming") is None,
    reason="mosaicml-streaming, which asks for older numpy and transformers than ours and so is no "
    "tool of this project's, has not been put here by hand",
)


@needs_streaming
@pytest.mark.parametrize("split", list(Split))
def test_streaming_dataset_reads_our_samples(
    sealed_folder: Path, tmp_path: Path, split: Split
) -> None:
    from streaming import StreamingDataset

    export_to(tmp_path / "mds", sealed_folder, "mds", samples_per_file=4)
    dataset = StreamingDataset(
        local=str(tmp_path / "mds" / split.value), shuffle=False, batch_size=1
    )
    ours = our_samples(sealed_folder, split)
    assert len(dataset) == len(ours)
    assert len(list((tmp_path / "mds" / split.value).glob("*.mds"))) == -(-len(ours) // 4)
    rows = {row["sample_id"]: row for row in dataset}
    assert rows.keys() == ours.keys()
    for name, row in rows.items():
        for key in ("prompt", "prompt_id", "seed", "source_rewards", "golden_rewards"):
            assert row[key] == ours[name][key]
        for key in ("source_noise", "golden_noise"):
            assert row[key].dtype == np.float16 and row[key].shape == SHAPE
            assert np.array_equal(row[key], ours[name][key].numpy())


@needs_streaming
def test_streaming_dataset_reads_pairs_without_pictures(bare_folder: Path, tmp_path: Path) -> None:
    from streaming import StreamingDataset

    export_to(tmp_path / "mds", bare_folder, "mds")
    dataset = StreamingDataset(local=str(tmp_path / "mds" / "train"), shuffle=False, batch_size=1)
    rows = {row["sample_id"]: row for row in dataset}
    ours = our_samples(bare_folder)
    assert rows.keys() == ours.keys()
    for name, row in rows.items():
        assert "source_image" not in row
        assert np.array_equal(row["source_noise"], ours[name]["source_noise"].numpy())


def test_mds_without_the_library_says_what_to_install_and_writes_nothing(
    sealed_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "streaming", None)
    with pytest.raises(UserError, match=r"pip install mosaicml-streaming"):
        export_to(tmp_path / "mds", sealed_folder, "mds")
    assert not (tmp_path / "mds").exists()
