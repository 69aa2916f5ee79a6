"""Converted rewards have the same scores, from safetensors alone."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.core.errors import ModelError, UserError
from pipeline.models.rewards.kinds import convert, published_class
from pipeline.models.rewards.published import REQUIRED_FILES
from tests.models.rewards.reference.subjects import PROMPTS, images

CPU = torch.device("cpu")


@pytest.mark.parametrize("kind", REQUIRED_FILES)
def test_convert_reward_keeps_every_score_and_writes_no_pickle(
    kind: str, published: Mapping[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "made" / "judge"
    ended = CliRunner().invoke(app, ["convert-reward", kind, str(published[kind]), str(out)])
    assert ended.exit_code == 0, ended.output
    assert {path.suffix for path in out.iterdir()} <= {".safetensors", ".json", ".txt"}
    assert [path.name for path in out.parent.iterdir()] == ["judge"]
    pictures = torch.from_numpy(images(count=2))
    before, after = (published_class(kind).load(folder, CPU) for folder in (published[kind], out))
    assert torch.equal(before.score(PROMPTS[:2], pictures), after.score(PROMPTS[:2], pictures))


def test_convert_reward_of_half_precision_scores_in_float32(
    published: Mapping[str, Path], tmp_path: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for path in published["hps_v2"].iterdir():
        (source / path.name).write_bytes(path.read_bytes())
    weights = torch.load(source / "HPS_v2.1_compressed.pt", weights_only=True)["state_dict"]
    halves = {name: tensor.half() for name, tensor in weights.items()}
    torch.save({"state_dict": halves}, source / "HPS_v2.1_compressed.pt")
    scores = published_class("hps_v2").load(source, CPU).score(PROMPTS, torch.from_numpy(images()))
    assert scores.dtype == torch.float32
    # In float16, values near .3 lie .00024 apart.
    assert not torch.equal(scores, scores.half().float())


def test_convert_reward_rejects_an_existing_target_and_a_missing_source(
    published: Mapping[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match="exists"):
        convert("hps_v2", published["hps_v2"], tmp_path)
    with pytest.raises(UserError, match="image_reward, hps_v2"):
        convert("hpsv2", published["hps_v2"], tmp_path / "out")
    with pytest.raises(ModelError, match="no such folder"):
        convert("hps_v2", tmp_path / "absent", tmp_path / "out")
    with pytest.raises(ModelError, match="fetch what is missing"):
        convert("hps_v2", tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()
