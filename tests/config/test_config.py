"""Configuration files: valid ones, and the error message of every mistake."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from pipeline.config.file import BUNDLED, bundled_configs, load_config
from pipeline.config.rewards import RewardConfig
from pipeline.config.section import Section
from pipeline.config.sections import Config
from pipeline.core.errors import ConfigError
from tests.sealed import SETTINGS, changed, to_toml


def _sections(section: type[Section] = Section) -> list[type[Section]]:
    return [found for sub in section.__subclasses__() for found in (sub, *_sections(sub))]


def _write(folder: Path, text: str) -> Path:
    path = folder / "build.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _line_of(path: Path, text: str) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if line.startswith(text))


def _error(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value)


@pytest.mark.parametrize("section", _sections(), ids=lambda section: section.__name__)
def test_section_every_field_is_described(section: type[Section]) -> None:
    assert section.__doc__
    if section is Config:
        return  # its fields are sections, which describe themselves
    for name, field in section.model_fields.items():
        assert field.description and field.description.endswith("."), name


@pytest.mark.parametrize("name", bundled_configs())
def test_bundled_configuration_bare_name_loads_with_files_that_exist(name: str) -> None:
    """The weights of recipes are the user's to fetch; all else ships."""
    config = load_config(name)
    paths = [str(config.prompts.path)]
    if name.startswith("demo"):
        paths += [str(config.model.path), *(r.path for r in config.rewards if r.path)]
    assert all(Path(path).exists() for path in paths)


def test_bundled_configurations_include_the_demo() -> None:
    assert "demo" in bundled_configs()


def test_bare_name_file_of_that_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").write_text(to_toml(changed(model={"name": "mine"})), encoding="utf-8")
    assert load_config("demo").model.name == "mine"


def test_bare_name_folder_of_that_name_does_not_hide_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("demo").mkdir()
    assert load_config("demo").prompts.path == str(BUNDLED / "prompts.txt")


def test_paths_relative_ones_are_relative_to_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    _write(folder, to_toml(changed(prompts={"path": "../words.txt"}, model={"path": "model"})))
    config = load_config("settings/build.toml")
    assert config.prompts.path == str(tmp_path / "words.txt")
    assert config.model.path == str(folder / "model")
    assert config.rewards[0].path == str(BUNDLED / "reward")
    assert config.rewards[1].path is None


def test_hub_sources_load_and_paths_beside_them_stay(tmp_path: Path) -> None:
    hub = {"hub": "owner/model", "revision": "0" * 40}
    model = {key: value for key, value in SETTINGS["model"].items() if key != "path"} | hub
    config = load_config(_write(tmp_path, to_toml({**SETTINGS, "model": model})))
    assert (config.model.hub, config.model.path) == ("owner/model", None)
    assert config.rewards[0].path == str(BUNDLED / "reward")


def test_model_from_nowhere_names_its_section(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml({**SETTINGS, "model": {"name": "mine"}}))
    line = _line_of(path, "[model]")
    assert _error(path) == (
        f"{path}:{line}: model: the model needs path, or hub with revision, to find its files"
    )


def test_values_whole_numbers_stand_for_fractions(tmp_path: Path) -> None:
    splits = {"train": 1, "validation": 0, "test": 0}
    config = load_config(_write(tmp_path, to_toml(changed(splits=splits))))
    assert isinstance(config.splits.train, float)


def test_configuration_is_frozen() -> None:
    config = load_config("demo")
    for section in (config, *(part for _, part in config if isinstance(part, BaseModel))):
        for name, value in section:
            with pytest.raises(ValidationError, match="frozen"):
                setattr(section, name, value)


def test_unknown_key_misspelt_names_line_key_and_nearest(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(sampling={"guidance_scael": 2.0})))
    line = _line_of(path, "guidance_scael")
    assert _error(path) == (
        f"{path}:{line}: sampling.guidance_scael: unknown key; did you mean 'guidance_scale'?"
    )


def test_unknown_key_like_no_other_lists_the_valid_ones(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(units={"xyzzy": 1})))
    line = _line_of(path, "xyzzy")
    assert _error(path) == f"{path}:{line}: units.xyzzy: unknown key; valid here: size, batch_size"


def test_unknown_section_names_line_and_nearest(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(redenose={"num_steps": 1})))
    line = _line_of(path, "[redenose]")
    assert _error(path) == f"{path}:{line}: redenose: unknown key; did you mean 'redenoise'?"


def test_unknown_key_in_an_array_of_tables_names_its_own_line(tmp_path: Path) -> None:
    rewards = [SETTINGS["rewards"][0], {**SETTINGS["rewards"][1], "margn": 1.0}]
    path = _write(tmp_path, to_toml(changed(rewards=rewards)))
    line = _line_of(path, "margn")
    assert _error(path) == (f"{path}:{line}: rewards.1.margn: unknown key; did you mean 'margin'?")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("prompts", "seeds_per_prompt", "two"),
        ("prompts", "seeds_per_prompt", 2.5),
        ("prompts", "seeds_per_prompt", 0),
        ("prompts", "seeds_per_prompt", True),
        ("prompts", "seed", -1),
        ("prompts", "format", "xml"),
        ("model", "dtype", "int8"),
        ("model", "height", 0),
        ("sampling", "num_inference_steps", 0),
        ("sampling", "guidance_scale", float("inf")),
        ("sampling", "guidance_scale", float("nan")),
        ("sampling", "guidance_scale", "5.5"),
        ("redenoise", "tolerance", 0.0),
        ("gate", "max_norm_deviation", -1.0),
        ("units", "size", 0),
        ("output", "formats", ["zip"]),
        ("output", "formats", []),
        ("output", "formats", ["arrow", "arrow"]),
        ("output", "shard_bytes", 10),
        ("output", "source_noise", 1),
        ("cluster", "workers", 0),
        ("cluster", "cpus_per_worker", 0.0),
    ],
)
def test_value_of_wrong_type_or_impossible_names_line_and_key(
    tmp_path: Path, section: str, key: str, value: object
) -> None:
    path = _write(tmp_path, to_toml(changed(**{section: {key: value}})))
    message = _error(path)
    section_line = _line_of(path, f"[{section}]")
    lines = path.read_text(encoding="utf-8").splitlines()
    key_line = next(
        number
        for number, line in enumerate(lines, start=1)
        if number > section_line and line.startswith(f"{key} =")
    )
    # A contradiction between keys is reported at the header of the section.
    assert message.startswith((f"{path}:{key_line}: ", f"{path}:{section_line}: "))
    assert f"{section}.{key}: " in message or f"{section}: a format is named twice" in message


def test_splits_that_do_not_add_up_say_the_sum(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(splits={"train": 0.9})))
    line = _line_of(path, "[splits]")
    assert _error(path) == (
        f"{path}:{line}: splits: the three fractions add up to 1.3; they must add up to 1"
    )


def test_redenoise_more_steps_than_the_schedule_has_says_both(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(redenoise={"num_steps": 9})))
    assert "num_steps is 9, more than num_inference_steps (8)" in _error(path)


def _rewards(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**SETTINGS["rewards"][0], **change} for change in changes]


@pytest.mark.parametrize(
    ("rewards", "expected"),
    [
        (_rewards({}, {}), "rewards: two rewards have one name"),
        (_rewards({"select": False}), "rewards: none has select = true"),
        ([{"name": "oracle", "kind": "scene_oracle"}], "must not choose pairs"),
        ([{"name": "scene", "kind": "scene"}], "needs path"),
        ([{"name": "hps", "kind": "hps_v2"}], "kind 'hps_v2' needs path, or hub"),
        (_rewards({"kind": "custom"}), "kind 'custom' needs entry, its class as module:Class"),
        (_rewards({"entry": "mine:Judge"}), "are for kind 'custom', not 'scene'"),
        (_rewards({"kind": "clip_score"}), "none has select = true"),
        (_rewards({"name": "Scene!"}), "rewards.0.name"),
        (_rewards({"margin": float("nan")}), "rewards.0.margin"),
    ],
)
def test_rewards_impossible_ones_name_line_and_reason(
    tmp_path: Path, rewards: list[dict[str, Any]], expected: str
) -> None:
    path = _write(tmp_path, to_toml(changed(rewards=rewards)))
    message = _error(path)
    assert expected in message
    assert int(message.removeprefix(f"{path}:").split(":")[0]) >= _line_of(path, "[[rewards]]")


@pytest.mark.parametrize("proposers", [(), ("redenoise", "npnet")], ids=["none", "both"])
def test_proposer_other_than_exactly_one_is_refused(
    tmp_path: Path, proposers: tuple[str, ...]
) -> None:
    sections = changed(npnet={"path": "network"})
    chosen = {"redenoise", "npnet"} - set(proposers)
    path = _write(tmp_path, to_toml({n: s for n, s in sections.items() if n not in chosen}))
    assert "by [redenoise] or by [npnet] or by [[proposers]]; set one of the three" in _error(path)


def test_network_path_is_relative_to_the_file(tmp_path: Path) -> None:
    sections = {n: s for n, s in changed(npnet={"path": "nets/a"}).items() if n != "redenoise"}
    config = load_config(_write(tmp_path, to_toml(sections)))
    assert config.npnet is not None
    assert config.npnet.path == str(tmp_path / "nets" / "a")


def test_section_missing_is_named(tmp_path: Path) -> None:
    settings = {name: section for name, section in SETTINGS.items() if name != "model"}
    path = _write(tmp_path, to_toml(settings))
    assert _error(path) == f"{path}:1: model: required, and not set"


def test_key_missing_names_its_section(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(sampling={}) | {"sampling": {"guidance_scale": 1.0}}))
    line = _line_of(path, "[sampling]")
    assert _error(path) == f"{path}:{line}: sampling.num_inference_steps: required, and not set"


def test_errors_all_are_told_at_once(tmp_path: Path) -> None:
    path = _write(tmp_path, to_toml(changed(units={"size": 0}, output={"images": "gif"})))
    first, second = _error(path).splitlines()
    assert "units.size" in first and "output.images" in second


def test_toml_syntax_error_names_the_line(tmp_path: Path) -> None:
    path = _write(tmp_path, "[prompts]\npath = \n")
    message = _error(path)
    assert message.startswith(f"{path}: not valid TOML") and "line 2" in message


def test_file_missing_is_said(tmp_path: Path) -> None:
    assert _error(tmp_path / "no.toml") == f"{tmp_path / 'no.toml'}: no such configuration file"


def test_file_not_utf8_is_said(tmp_path: Path) -> None:
    path = tmp_path / "build.toml"
    path.write_bytes(b"[prompts]\npath = '\xff'\n")
    assert str(path) in _error(path) and "UTF-8" in _error(path)


@pytest.mark.parametrize("kind", ["clip_score", "aesthetic"])
def test_rewards_for_reports_select_only_if_a_person_says_so(kind: str) -> None:
    values = {"name": "report", "kind": kind, "path": "judge"}
    assert not RewardConfig.model_validate(values).select
    assert RewardConfig.model_validate({**values, "select": True}).select
    assert RewardConfig.model_validate({**values, "kind": "hps_v2"}).select


def test_rewards_own_class_is_found_beside_the_configuration(tmp_path: Path) -> None:
    custom = {"name": "custom", "kind": "custom", "entry": "mine:Judge", "code": "code"}
    path = _write(tmp_path, to_toml(changed(rewards=[custom])))
    assert load_config(path).rewards[0].code == str(tmp_path / "code")
