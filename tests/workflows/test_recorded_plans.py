"""Plans of many configurations, compared byte for byte with ``recorded_plans.json``.

A plan's id is a digest of its JSON, so a key that is added, left out or written in another way
would start every build again. To record plans on purpose, together with a new
``ALGORITHM_VERSION``, run ``python -m tests.workflows.test_recorded_plans``.
"""

import json
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.file import BUNDLED, RECIPES, load_config
from pipeline.config.plan import Plan
from pipeline.config.sections import Config
from pipeline.models.resolved_models import ResolvedModels
from pipeline.npnet.config import SmallLayout
from pipeline.storage.plans import plan_bytes
from pipeline.workflows.plan import draft_plan, make_plan, prompts_of
from tests.npnet.layouts import shaken
from tests.sealed import SETTINGS, changed, demo_prompts, write_config

RECORDED = Path(__file__).with_name("recorded_plans.json")
VERSION_2 = Path(__file__).parents[1] / "publish" / "version_2.tar.xz"

LAYOUT = SmallLayout(latent_shape=(4, 8, 8), prompt_width=128, width=16, blocks=1)
STEPS = {"num_inference_steps": 4, "guidance_scale": 3}
EVERY_PROPOSER: list[dict[str, Any]] = [
    {"kind": "redenoise", **STEPS},
    {
        "kind": "redenoise",
        "name": "leading",
        **STEPS,
        "num_steps": 2,
        "inversion_guidance_scale": 0.5,
        "timestep_spacing": "leading",
        "inversion": "exact",
        "tolerance": 1e-3,
        "max_iterations": 7,
        "rounds": 2,
    },
    {"kind": "zigzag", **STEPS, "num_steps": 3},
    {"kind": "trajectory", "inversion": "exact"},
    {"kind": "best_of_n", "name": "random", "n": 3},
    {"kind": "npnet", "path": "network", "rounds": 2, "allow_other_model": True},
    {
        "kind": "custom",
        "entry": "recorded_proposer:Two",
        "code": "code",
        "options": {"strength": 0.5, "names": ["a", 2], "deep": {"n": 1, "on": True}},
    },
]
EVERY_MODEL_OPTION: dict[str, Any] = {
    "config": "configs",
    "variant": "fp16",
    "dtype": "bfloat16",
    "height": 64,
    "width": 96,
    "num_frames": 5,
    "embedded_guidance": 3,
    "negative_prompt": "blurry",
    "max_sequence_length": 77,
    "clip_skip": 2,
    "compile": True,
    "channels_last": True,
    "attention_backend": "native",
    "vae_slicing": True,
    "vae_tiling": True,
    "scheduler": {
        "name": "EulerDiscreteScheduler",
        "options": {"steps_offset": 2, "shift": 3.0, "on": True, "spacing": "leading"},
    },
}
EVERY_REWARD: list[dict[str, Any]] = [
    {"name": "scene", "kind": "scene", "path": str(BUNDLED / "reward"), "margin": 1, "weight": 2},
    {"name": "oracle", "kind": "scene_oracle", "select": False},
    {"name": "clip", "kind": "clip_score", "path": "clip"},
    {"name": "hps", "kind": "hps_v2", "hub": "a/b", "revision": "0" * 40, "file": "x/y.bin"},
    {
        "name": "own",
        "kind": "custom",
        "entry": "judge:Judge",
        "code": "code",
        "options": {"tone": 1},
    },
]
CHANGES: dict[str, dict[str, Any]] = {
    "defaults": {},
    "every model option": {"model": EVERY_MODEL_OPTION},
    "embedded guidance": {"model": {"guidance": "embedded"}},
    "every reward": {"rewards": EVERY_REWARD, "selection": {"rule": "weighted_sum"}},
    "every other option": {
        "sampling": {"guidance_rescale": 0.5, "scheduler": "model", "guidance_scale": 7},
        "selection": {"rule": "majority"},
        "gate": {"max_norm_deviation": 7, "max_kurtosis_deviation": 5.5},
        "units": {"size": 3, "batch_size": 2},
        "output": {"store_rejected": True, "source_noise": False, "images": "webp"},
        "cluster": {"workers": 3},
    },
}
"""Configurations whose files need not exist: their plans are drafts, without digests."""


def _json(plan: Plan) -> str:
    return plan_bytes(plan).decode()


def _shipped() -> Iterator[tuple[str, str]]:
    for path in sorted([*BUNDLED.glob("*.toml"), *RECIPES.glob("*.toml")]):
        config = load_config(path)
        yield (
            f"draft of {path.stem}",
            _json(draft_plan(config, prompts_of(config, ResolvedModels(config)))[0]),
        )


def _drafts(folder: Path) -> Iterator[tuple[str, str]]:
    for name, sections in CHANGES.items():
        config = write_config(folder / name, changed(**sections), prompts=demo_prompts(3))
        yield name, _json(draft_plan(config, prompts_of(config, ResolvedModels(config)))[0])


def _with_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield plans with the digests of a network, of custom code and of LoRAs."""
    plan = make_plan(_config_with_files(folder))[0]
    assert plan.identity() == plan.plan_id
    # Other versions of the libraries write other bytes for the same weights.
    text = _json(plan).replace(_network_digest(plan), "digest of the network")
    yield "files", text.replace(plan.plan_id, "id")
    short = _folder_settings(folder, {"npnet": {"path": "network"}})
    plan = make_plan(_write(folder / "files", short))[0]
    text = _json(plan).replace(_network_digest(plan), "digest of the network")
    yield "files, short form", text.replace(plan.plan_id, "id")


def _network_digest(plan: Plan) -> str:
    proposers = json.loads(_json(plan))["settings"]["proposers"]
    return next(str(each["digest"]) for each in proposers if each["kind"] == "npnet")


def _config_with_files(folder: Path) -> Config:
    files = folder / "files"
    (files / "code").mkdir(parents=True)
    (files / "code" / "recorded_proposer.py").write_text(
        "class Two:\n"
        "    proposals, evaluations = 2, 9\n"
        "    def __init__(self, **options): ...\n"
        "    def propose(self, denoiser, prompts, source): ...\n"
    )
    (files / "lora.safetensors").write_bytes(b"weights")
    shaken(LAYOUT).save(files / "network")
    return _write(files, _folder_settings(folder, {"proposers": EVERY_PROPOSER}))


def _folder_settings(folder: Path, sections: dict[str, Any]) -> dict[str, Any]:
    others = {name: section for name, section in SETTINGS.items() if name != "redenoise"}
    lora = {"path": str(folder / "files" / "lora.safetensors"), "scale": 0.5}
    model = {
        **SETTINGS["model"],
        "loras": [lora],
        "scheduler": {"options": {"steps_offset": 2}},
    }
    return others | {"model": model} | sections


def _write(folder: Path, settings: dict[str, Any]) -> Config:
    return write_config(folder, settings, prompts=demo_prompts(3))


def _plans(folder: Path) -> dict[str, str]:
    return {**dict(_shipped()), **dict(_drafts(folder)), **dict(_with_files(folder))}


def test_recorded_plans_are_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    recorded = json.loads(RECORDED.read_text("utf-8"))
    plans = _plans(tmp_path)
    assert plans.keys() == recorded.keys()
    for name, text in plans.items():
        assert text.splitlines() == recorded[name], name


def test_recorded_plans_read_back_are_the_same_bytes() -> None:
    for name, lines in json.loads(RECORDED.read_text("utf-8")).items():
        assert _json(Plan.model_validate_json("\n".join(lines))).splitlines() == lines, name


def test_plan_of_an_older_version_keeps_its_id_and_its_unknown_keys() -> None:
    """Version 2 had one proposer, in its section, and no weights, rule, scheduler or guidance."""
    with tarfile.open(VERSION_2) as archive:
        file = archive.extractfile("plans/da57974fb106faba/plan.json")
        assert file is not None
        content = json.loads(file.read())
    assert Plan.model_validate(content).identity() == "da57974fb106faba"
    settings = content["settings"]
    settings["extra"] = {"n": 1}
    settings["model"]["no_longer"] = {"a": [1, 2.5, None]}
    settings["sampling"]["eta"] = 0
    del settings["redenoise"]
    settings["npnet"] = {"rounds": 2, "digest": "d" * 64}
    changed_plan = Plan.model_validate(content)
    assert changed_plan.identity() == "8bb6c3463653170f"
    assert json.loads(_json(changed_plan))["settings"] == settings


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        found = {name: text.splitlines() for name, text in _plans(Path(scratch)).items()}
    RECORDED.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
