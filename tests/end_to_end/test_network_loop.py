"""The training loop: train on pairs, add pairs that the network proposes, and train again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from jobs.train_npnet import job
from pipeline.config.file import BUNDLED
from pipeline.core.records import Split
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.reader import NoisePairDataset
from pipeline.storage.open import open_store
from pipeline.storage.success import read_success
from tests.end_to_end.builds import CONFIG, Npd, files, plan_id, write_config

REDENOISE = CONFIG[CONFIG.index("[redenoise]") : CONFIG.index("[[rewards]]")]


@pytest.fixture(autouse=True)
def _fresh_accelerator() -> Iterator[None]:
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


def _train(data: Path, out: Path, *, init: Path | None = None) -> None:
    job(
        data=str(data),
        model=BUNDLED / "model",
        out=out,
        width=16,
        init=init,
        steps=10,
        batch_size=2,
        lr=5e-3,
        checkpoint_every=10,
    )


def test_network_proposes_pairs_of_another_plan_which_is_rejected_and_can_be_added(
    npd: Npd, undisturbed: Path, copied: Path, tmp_path: Path
) -> None:
    network, again = tmp_path / "first", tmp_path / "second"
    _train(undisturbed, network)

    section = f'[npnet]\npath = "{network}"\n\n'
    # A network of ten steps wins by chance: every pair is kept.
    text = CONFIG.replace(REDENOISE, section).replace("seed = 7", "seed = 8")
    other = write_config(
        tmp_path, text.replace('kind = "scene"\n', 'kind = "scene"\nmargin = -1000.0\n')
    )
    first, before = plan_id(copied), files(copied)
    rejected = npd("build", other, "--out", copied)
    assert rejected.code == 2
    assert f"already holds plan {first}" in rejected.err
    assert "--add" in rejected.err
    assert files(copied) == before

    pairs = {split: {s["sample_id"] for s in _pairs(copied, split)} for split in Split}
    added = npd("build", other, "--out", copied, "--add", "--workers", 1)
    assert added.code == 0, added.err
    success = read_success(open_store(str(copied)))
    assert success is not None
    (second,) = {sealed.plan_id for sealed in success.manifests} - {first}
    assert len(success.manifests) == 2
    for split in Split:
        both = [s["sample_id"] for s in _pairs(copied, split)]
        assert pairs[split] <= set(both)
        assert len(set(both)) == len(both)
    assert npd("status", copied).out.count("12 of 12 units (100%), sealed") == 2
    assert npd("verify", copied).code == 0

    report = npd("report", copied, "--plan", second)
    assert f"noise prompt network {network_digest(network)[:16]}" in report.out
    kept = [s for s in _pairs(copied, Split.TRAIN) if s["sample_id"] not in pairs[Split.TRAIN]]
    assert len(kept) > 2 and all(s["noise_stats"]["relative_change"] > 0 for s in kept)

    _train(copied, again, init=network)
    assert NPNet.load(again).layout == NPNet.load(network).layout
    assert network_digest(again) != network_digest(network)


def _pairs(folder: Path, split: Split) -> NoisePairDataset:
    return NoisePairDataset(str(folder), split)
