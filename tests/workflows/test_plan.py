"""Plans made from configurations, and the settings that decide their identity."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.config.file import BUNDLED
from pipeline.config.plan import Plan
from pipeline.core.errors import ModelError
from pipeline.core.identity import seeds_for
from pipeline.core.records import DropReason
from pipeline.storage.formats.prompts import PromptTable
from pipeline.storage.local import LocalStore
from pipeline.storage.plans import read_plan, read_prompt_table, stored_plans, write_plan
from pipeline.workflows.plan import make_plan
from tests.sealed import SETTINGS, changed, demo_prompts, write_config

PROMPTS = demo_prompts(24)


def _plan(
    folder: Path, settings: dict[str, Any] = SETTINGS, prompts: list[str] = PROMPTS
) -> tuple[Plan, PromptTable]:
    return make_plan(write_config(folder, settings, prompts=prompts))


def _reward(**changes: Any) -> list[dict[str, Any]]:
    scene, oracle = SETTINGS["rewards"]
    return [{**scene, **changes}, oracle]


@pytest.mark.parametrize(
    "sections",
    [
        {"prompts": {"seed": 8}},
        {"prompts": {"seeds_per_prompt": 3}},
        {"splits": {"train": 0.7, "test": 0.1}},
        {"model": {"dtype": "bfloat16"}},
        {"model": {"height": 64}},
        {"sampling": {"num_inference_steps": 5}},
        {"sampling": {"guidance_scale": 1.5}},
        {"redenoise": {"num_steps": 2}},
        {"redenoise": {"guidance_scale": 3.5}},
        {"redenoise": {"inversion": "exact"}},
        {"rewards": _reward(margin=0.1)},
        {"rewards": _reward(name="other")},
        {"rewards": SETTINGS["rewards"][:1]},
        {"gate": {"max_norm_deviation": 7.0}},
        {"units": {"size": 11}},
        {"units": {"batch_size": 6}},
        {"output": {"shard_bytes": 13_000}},
        {"output": {"images": "none"}},
        {"output": {"formats": ["arrow"]}},
    ],
    ids=str,
)
def test_plan_id_changes_with_every_deciding_setting(
    tmp_path: Path, sections: dict[str, Any]
) -> None:
    before = _plan(tmp_path / "a")[0].plan_id
    assert _plan(tmp_path / "b", changed(**sections))[0].plan_id != before


@pytest.mark.parametrize(
    "prompts",
    [PROMPTS[1:], PROMPTS[::-1], [*PROMPTS, "another"], [PROMPTS[0].upper(), *PROMPTS[1:]]],
    ids=["fewer", "another order", "more", "another case"],
)
def test_plan_id_changes_with_the_prompts(tmp_path: Path, prompts: list[str]) -> None:
    before = _plan(tmp_path / "a")[0].plan_id
    assert _plan(tmp_path / "b", prompts=prompts)[0].plan_id != before


@pytest.mark.parametrize("part", ["model", "reward"])
def test_plan_id_changes_with_one_byte_of_a_model(tmp_path: Path, part: str) -> None:
    folder = tmp_path / "model"
    shutil.copytree(BUNDLED / part, folder)
    settings = (
        changed(model={"path": str(folder)})
        if part == "model"
        else changed(rewards=_reward(path=str(folder)))
    )
    same = _plan(tmp_path / "a", settings)[0].plan_id
    assert same == _plan(tmp_path / "b")[0].plan_id, "another folder with the same files"
    weights = sorted(folder.rglob("*.safetensors"))[0]
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert _plan(tmp_path / "c", settings)[0].plan_id != same


def test_plan_id_does_not_change_with_cluster_paths_format_and_repeats(tmp_path: Path) -> None:
    before = _plan(tmp_path / "a")[0]
    cluster = {"workers": 9, "gpus_per_worker": 0.5, "max_attempts": 1}
    other = changed(cluster=cluster, prompts={"path": "p.csv"})
    repeats = [PROMPTS[0], *PROMPTS, f"  {PROMPTS[3]} "]
    config = write_config(tmp_path / "elsewhere", other)
    (tmp_path / "elsewhere" / "p.csv").write_text(
        "prompt\n" + "".join(f'"{prompt}"\n' for prompt in repeats), encoding="utf-8"
    )
    after = make_plan(config)[0]
    assert after.plan_id == before.plan_id
    assert after.prompt_funnel.dropped == {DropReason.REPEATED: 2}
    assert before.prompt_funnel.dropped == {}


def test_plan_id_does_not_change_with_filters_that_drop_nothing_more(tmp_path: Path) -> None:
    before = _plan(tmp_path / "a")[0]
    (tmp_path / "list.txt").write_text("nothing of the kind\n")
    filters = {"block_list": str(tmp_path / "list.txt"), "near_duplicates": 1.0, "sample": 24}
    after = _plan(tmp_path / "b", changed(prompts={**filters, "seed": 7}))[0]
    assert after.plan_id == before.plan_id
    assert after.prompt_funnel.settings["near_duplicates"] == 1.0


def test_plan_whole_numbers_and_fractions_are_one_setting(tmp_path: Path) -> None:
    full = changed(sampling={"guidance_scale": 1}, redenoise={"guidance_scale": 3})
    assert _plan(tmp_path / "a", full)[0].plan_id == _plan(tmp_path / "b")[0].plan_id


def test_plan_names_no_path_of_this_machine(tmp_path: Path) -> None:
    text = _plan(tmp_path)[0].model_dump_json()
    assert str(tmp_path) not in text and str(BUNDLED) not in text


def test_plan_stored_and_read_back_is_the_same(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    plan, prompts = _plan(tmp_path)
    assert write_plan(store, plan, prompts) == plan
    assert write_plan(store, plan, prompts) == plan, "a second time"
    assert stored_plans(store) == [plan.plan_id]
    again = read_plan(store, plan.plan_id)
    assert again == plan and again.identity() == plan.plan_id
    assert read_prompt_table(store, plan.plan_id).table.equals(prompts.table)


@pytest.mark.parametrize("size", [1, 7, 10, 48, 1000])
def test_units_cover_each_candidate_exactly_once(tmp_path: Path, size: int) -> None:
    plan, prompts = _plan(tmp_path, changed(units={"size": size}))
    assert plan.num_candidates == 2 * len(PROMPTS)
    ranges = [plan.unit_range(unit) for unit in range(plan.num_units)]
    assert [p for positions in ranges for p in positions] == list(range(plan.num_candidates))
    assert all(len(positions) == size for positions in ranges[:-1]) and ranges[-1]
    candidates = list(prompts.candidates(plan, range(plan.num_candidates)))
    assert [c.index for c in candidates] == list(range(plan.num_candidates))
    assert len({c.sample_id for c in candidates}) == plan.num_candidates


def test_candidates_are_prompts_times_seeds_of_the_prompt(tmp_path: Path) -> None:
    plan, prompts = _plan(tmp_path)
    candidates = list(prompts.candidates(plan, range(plan.num_candidates)))
    assert [c.prompt for c in candidates] == [p for p in PROMPTS for _ in range(2)]
    for first, second in zip(candidates[::2], candidates[1::2], strict=True):
        assert [first.seed, second.seed] == seeds_for(7, first.prompt_id, 2)
        assert first.prompt_id == second.prompt_id and first.split == second.split


def test_splits_no_prompt_is_in_two(tmp_path: Path) -> None:
    plans = [_plan(tmp_path / "a"), _plan(tmp_path / "b", changed(prompts={"seed": 99}))]
    splits: dict[str, set[str]] = {}
    for plan, prompts in plans:
        for candidate in prompts.candidates(plan, range(plan.num_candidates)):
            splits.setdefault(candidate.prompt, set()).add(candidate.split)
    assert len(splits) == len(PROMPTS)
    assert all(len(found) == 1 for found in splits.values())
    assert len(set().union(*splits.values())) == 3


def test_candidates_appended_prompts_and_seeds_leave_the_others(tmp_path: Path) -> None:
    def identities(plan: Plan, prompts: PromptTable) -> list[tuple[str, str]]:
        candidates = prompts.candidates(plan, range(plan.num_candidates))
        return [(c.sample_id, c.split) for c in candidates]

    before = identities(*_plan(tmp_path / "a", prompts=PROMPTS[:10]))
    appended = identities(*_plan(tmp_path / "b", prompts=PROMPTS))
    assert appended[: len(before)] == before
    third = identities(*_plan(tmp_path / "c", changed(prompts={"seeds_per_prompt": 3})))
    assert set(appended) < set(third)


@pytest.mark.parametrize(
    "settings",
    [
        lambda path: changed(model={"path": path}),
        lambda path: changed(rewards=_reward(path=path)),
    ],
    ids=["model", "reward"],
)
def test_model_folder_missing_is_named(
    tmp_path: Path, settings: Callable[[str], dict[str, Any]]
) -> None:
    with pytest.raises(ModelError, match="nowhere: no such model folder"):
        _plan(tmp_path, settings(str(tmp_path / "nowhere")))


def _own_judge(folder: Path, code: str, **options: int) -> dict[str, Any]:
    folder.mkdir()
    (folder / "judge_of_plans.py").write_text(code)
    own = {"name": "own", "kind": "custom", "entry": "judge_of_plans:Judge", "code": str(folder)}
    return changed(rewards=[{**own, "options": options}])


def test_plan_id_follows_the_code_and_options_of_an_own_judge_and_not_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plan(name: str, code: str, **options: int) -> Plan:
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", [*sys.path])
            config = _own_judge(tmp_path / f"code-{name}", code, **options)
            return _plan(tmp_path / name, config)[0]

    first = plan("a", "class Judge: ...", tone=1)
    assert plan("b", "class Judge: ...", tone=1).plan_id == first.plan_id
    assert plan("c", "class Judge: ...", tone=2).plan_id != first.plan_id
    assert plan("d", "class Judge: changed = True", tone=1).plan_id != first.plan_id
    assert str(tmp_path) not in first.model_dump_json()


def test_plan_of_a_judge_without_its_files_says_what_to_fetch(tmp_path: Path) -> None:
    settings = changed(rewards=[{"name": "hps", "kind": "hps_v2", "path": str(tmp_path)}])
    with pytest.raises(ModelError, match=r"HPS_v2\.1_compressed\.pt .*huggingface\.co/xswu/HPSv2"):
        _plan(tmp_path / "a", settings)


@pytest.mark.parametrize(
    ("pipeline", "offset", "options", "entry"),
    [
        ("StableDiffusionXLPipeline", 1, {}, None),
        ("StableDiffusionXLPipeline", 0, {}, 0),
        ("StableDiffusionXLPipeline", None, {}, 0),
        ("StableDiffusionXLPipeline", 1, {"steps_offset": 2}, 2),
        ("StableDiffusionXLPipeline", 0, {"steps_offset": 1}, None),
        # This pipeline of diffusers sets its scheduler's offset to 1 in any case.
        ("StableDiffusionPipeline", 0, {}, None),
    ],
)
def test_plan_with_leading_spacing_has_the_models_offset_where_it_is_not_one(
    pipeline: str, offset: int | None, options: dict[str, int], entry: int | None, tmp_path: Path
) -> None:
    """Plans without the entry are computed with 1, as all plans once were."""
    model = tmp_path / "model"
    shutil.copytree(BUNDLED / "model", model)
    _edit(model / "model_index.json", _class_name=pipeline)
    _edit(model / "scheduler" / "scheduler_config.json", steps_offset=offset)
    place = {"path": str(model), "scheduler": {"options": options}}
    settings = changed(model=place, redenoise={"timestep_spacing": "leading"})
    plan, _ = _plan(tmp_path / "leading", settings)
    assert plan.settings.model.steps_offset == entry
    others, _ = _plan(tmp_path / "own", changed(model=place))
    assert others.settings.model.steps_offset is None


def _edit(path: Path, **changes: Any) -> None:
    content = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))
