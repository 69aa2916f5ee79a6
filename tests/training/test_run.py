"""Training runs in this process, on the small sealed data set."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file

from pipeline.config.file import load_config
from pipeline.core.errors import ModelError, UserError
from pipeline.models.diffusers.resolved_model import resolve_model
from pipeline.models.model_identity import identity_of
from pipeline.npnet import NPNet
from pipeline.npnet.config import SmallLayout
from pipeline.reader import Source
from pipeline.training.data import EveryPair, PairStream, PromptEncoder, read_plans
from pipeline.training.fit import variance_explained
from pipeline.training.run import NewNetwork, PretrainedNetwork, train
from pipeline.training.settings import TrainingSettings
from tests.sealed import Built, build, demo_models, demo_prompts
from tests.stages.demo_unit import KEEP_ALL
from tests.two_versions import TwoVersions, _two_versions, two_versions

__all__ = ["_two_versions", "two_versions"]

SETTINGS = TrainingSettings(
    steps=30, batch_size=8, learning_rate=2e-3, warmup_steps=5, ema_decay=0.9
)
BRIEF = SETTINGS.model_copy(update={"steps": 2})
SMALL = NewNetwork(kind="small", width=16)
MODEL = identity_of(resolve_model(load_config("demo").model))


def _train(
    data: Path | Source,
    out: Path,
    accelerator: Accelerator,
    start: NewNetwork | PretrainedNetwork = SMALL,
    settings: TrainingSettings = SETTINGS,
    checkpoint_every: int = 10,
) -> dict[str, Any]:
    return dict(
        train(
            data if isinstance(data, Source) else Source(str(data)),
            PromptEncoder.of(demo_models()[0]),
            MODEL,
            start,
            settings,
            out,
            accelerator,
            checkpoint_every=checkpoint_every,
            report=lambda step, loss: None,
        )
    )


def _explained(folder: Path, data: Path) -> float:
    """Return the variance explained on the training pairs, to test learning, not generalisation."""
    batches = EveryPair(Source(str(data)), "train", 8)
    return variance_explained(NPNet.load(folder), batches, PromptEncoder.of(demo_models()[0]))


@pytest.mark.parametrize("kind", ["small", "two_branch"])
def test_train_either_layout_learns_the_pairs(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator, kind: Any
) -> None:
    summary = _train(sealed_folder, tmp_path, accelerator, NewNetwork(kind=kind, width=16))
    assert _explained(tmp_path, sealed_folder) > 0.05
    assert summary["variance_explained"] is not None
    assert NPNet.load(tmp_path).layout.kind == kind


def test_train_writes_curve_and_summary(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator)
    points = [json.loads(line) for line in (tmp_path / "loss.jsonl").read_text().splitlines()]
    assert [point["step"] for point in points] == [10, 20, 30]
    assert points[-1]["loss"] < points[0]["loss"] < 1.2
    assert all("variance_explained" in point for point in points)
    summary = json.loads((tmp_path / "training.json").read_text())
    assert summary["variance_explained"] == points[-1]["variance_explained"]


def test_train_again_when_done_computes_nothing(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    summary = _train(sealed_folder, tmp_path, accelerator)
    weights = tmp_path / "model.safetensors"
    written = weights.stat().st_mtime_ns
    assert _train(sealed_folder, tmp_path, accelerator) == summary
    assert weights.stat().st_mtime_ns == written


def test_train_killed_after_its_last_checkpoint_writes_what_is_missing(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    summary = _train(sealed_folder, tmp_path, accelerator)
    written = (tmp_path / "model.safetensors").read_bytes()
    for name in ("training.json", "model.safetensors"):
        (tmp_path / name).unlink()
    again = _train(sealed_folder, tmp_path, accelerator)
    assert (tmp_path / "model.safetensors").read_bytes() == written
    assert again | {"seconds": 0} == summary | {"seconds": 0}


def test_train_without_validation_pairs_measures_nothing(
    tmp_path: Path, accelerator: Accelerator
) -> None:
    all_to_train = KEEP_ALL | {"splits": {"train": 1.0}}
    built = build(tmp_path / "config", all_to_train, prompts=demo_prompts(2))
    built.sealed_in(str(tmp_path / "data"))
    short = SETTINGS.model_copy(update={"steps": 2, "batch_size": 2})
    summary = _train(tmp_path / "data", tmp_path / "out", accelerator, settings=short)
    assert summary["variance_explained"] is None
    assert NPNet.load(tmp_path / "out").layout.kind == "small"


def test_train_into_the_folder_of_another_run_is_refused(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator)
    other = SETTINGS.model_copy(update={"seed": 1})
    with pytest.raises(UserError, match=r"training\.json.*settings\.seed is 0 there and 1"):
        _train(sealed_folder, tmp_path, accelerator, settings=other)
    (tmp_path / "training.json").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.pt.*settings\.seed is 0 there and 1"):
        _train(sealed_folder, tmp_path, accelerator, settings=other)


def test_train_from_a_network_starts_at_its_weights(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path / "base", accelerator)
    still = SETTINGS.model_copy(update={"steps": 1, "learning_rate": 1e-12})
    start = PretrainedNetwork(folder=tmp_path / "base")
    _train(sealed_folder, tmp_path / "tuned", accelerator, start, still)
    base, tuned = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "tuned"))
    for name, tensor in base.items():
        torch.testing.assert_close(tuned[name], tensor, atol=1e-9, rtol=0)


def test_train_from_a_network_explains_more(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path / "base", accelerator)
    start = PretrainedNetwork(folder=tmp_path / "base")
    _train(sealed_folder, tmp_path / "tuned", accelerator, start)
    base, tuned = (_explained(tmp_path / name, sealed_folder) for name in ("base", "tuned"))
    assert tuned > base + 0.05


def test_train_from_a_network_for_other_latents_names_both_shapes(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    layout = SmallLayout(latent_shape=(4, 16, 16), prompt_width=128, width=16)
    NPNet.new(layout, 0).save(tmp_path / "other")
    start = PretrainedNetwork(folder=tmp_path / "other")
    with pytest.raises(ModelError, match=r"\(4, 16, 16\).*data's are \(4, 8, 8\)"):
        _train(sealed_folder, tmp_path / "tuned", accelerator, start)


def test_train_on_other_pairs_is_refused_with_their_plan(
    sealed_folder: Path, built: Built, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path / "out", accelerator, settings=BRIEF)
    (tmp_path / "out" / "training.json").unlink()
    all_to_train = KEEP_ALL | {"splits": {"train": 1.0}}
    other = build(tmp_path / "config", all_to_train, prompts=demo_prompts(4))
    other.sealed_in(str(tmp_path / "data"))
    plans = f"data.0.plan_id is {built.plan.plan_id} there and {other.plan.plan_id} here"
    with pytest.raises(UserError, match=plans):
        _train(tmp_path / "data", tmp_path / "out", accelerator, settings=BRIEF)


def test_train_whose_network_is_lost_writes_it_again(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
    weights = tmp_path / "model.safetensors"
    written = weights.read_bytes()
    weights.write_bytes(written[:-4])
    _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
    assert weights.read_bytes() == written


def test_train_rejects_a_checkpoint_of_another_format(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
    path = tmp_path / "checkpoint.pt"
    stored = torch.load(path, weights_only=True)
    # The first format had no number, and the parts of the run beside its identity.
    torch.save({"run": stored["run"], "step": 1, **stored["state"]}, path)
    (tmp_path / "training.json").unlink()
    with pytest.raises(UserError, match=r"checkpoint\.pt is an unfinished run of another.*remove"):
        _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)


def test_train_finished_by_an_earlier_version_is_not_repeated(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
    (tmp_path / "checkpoint.pt").unlink()
    path = tmp_path / "training.json"
    summary = json.loads(path.read_text())
    for name in ("model", "text_encoder", "data"):
        del summary["run"][name]
    path.write_text(json.dumps(summary))
    assert _train(sealed_folder, tmp_path, accelerator, settings=BRIEF) == summary


def test_train_reads_the_requested_version(
    two_versions: TwoVersions, tmp_path: Path, accelerator: Accelerator
) -> None:
    source = Source(str(two_versions.folder), version=1)
    summary = _train(source, tmp_path / "first", accelerator, settings=BRIEF)
    current = _train(two_versions.folder, tmp_path / "current", accelerator, settings=BRIEF)
    assert [data["version"] for data in summary["run"]["data"]] == [1]
    assert [data["version"] for data in current["run"]["data"]] == [2]
    assert summary["run"]["pairs"] > current["run"]["pairs"]
    with pytest.raises(UserError, match=r"data\.0\.version is 1 there and 2 here"):
        _train(two_versions.folder, tmp_path / "first", accelerator, settings=BRIEF)


def test_train_reads_all_of_a_source_without_credentials(sealed_folder: Path) -> None:
    source = Source(str(sealed_folder), unsigned=True)
    for read in (
        lambda: read_plans(source),
        lambda: EveryPair(source, "train", 4),
        lambda: PairStream(source, split="train", batch_size=4, seed=0, min_gain={}),
    ):
        with pytest.raises(UserError, match="unsigned is for s3:// URLs"):
            read()


def test_train_rejects_a_damaged_checkpoint(
    sealed_folder: Path, tmp_path: Path, accelerator: Accelerator
) -> None:
    _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
    (tmp_path / "training.json").unlink()
    path = tmp_path / "checkpoint.pt"
    intact = path.read_bytes()
    for damaged in (intact[:1000], b"", b"no checkpoint", intact[: len(intact) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(UserError, match=r"checkpoint\.pt is damaged.*remove it"):
            _train(sealed_folder, tmp_path, accelerator, settings=BRIEF)
