"""The training loop: train on pairs, propose with the network, select, and train again."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from accelerate.state import AcceleratorState

from jobs.train_npnet import job
from pipeline.config.file import BUNDLED
from pipeline.npnet import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.reader import NoisePairDataset
from tests.end_to_end.builds import CONFIG, Npd, write_config

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


def test_network_proposes_pairs_for_its_next_training(
    npd: Npd, undisturbed: Path, tmp_path: Path
) -> None:
    first, second, pairs = tmp_path / "first", tmp_path / "second", tmp_path / "pairs"
    _train(undisturbed, first)

    section = f'[npnet]\npath = "{first}"\n\n'
    # A network of ten steps wins by chance: every pair is kept.
    text = CONFIG.replace(REDENOISE, section).replace(
        'kind = "scene"\n', 'kind = "scene"\nmargin = -1000.0\n'
    )
    built = npd("build", write_config(tmp_path, text), "--out", pairs, "--workers", 1)
    assert built.code == 0, built.err
    assert npd("verify", pairs).code == 0
    report = npd("report", pairs)
    assert f"noise prompt network {network_digest(first)[:16]}" in report.out
    kept = list(NoisePairDataset(str(pairs), "train"))
    assert len(kept) > 2 and all(s["noise_stats"]["relative_change"] > 0 for s in kept)

    _train(pairs, second, init=first)
    assert NPNet.load(second).layout == NPNet.load(first).layout
    assert network_digest(second) != network_digest(first)
