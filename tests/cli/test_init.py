"""``npd init``, ``npd options`` and ``npd --version``."""

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from pipeline.cli.app import app
from pipeline.config.file import BUNDLED, bundled_config, bundled_configs, load_config
from pipeline.core.errors import ConfigError, UserError
from pipeline.workflows.plan import make_plan


def _npd(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in arguments], catch_exceptions=False)


def test_init_demo_written_elsewhere_is_the_same_plan(tmp_path: Path) -> None:
    assert _npd("init", "demo", tmp_path / "my.toml").exit_code == 0
    made, _ = make_plan(load_config(tmp_path / "my.toml"))
    assert made.plan_id == make_plan(load_config("demo"))[0].plan_id


@pytest.mark.parametrize("name", bundled_configs())
def test_init_prints_every_shipped_configuration_with_its_own_values(
    name: str, tmp_path: Path
) -> None:
    copied = tmp_path / "my.toml"
    copied.write_text(_npd("init", name).stdout, encoding="utf-8")
    made, shipped = load_config(copied), load_config(name)
    assert made.prompts == shipped.prompts, "prompts that ship with the package are found"
    apart = {"model", "rewards", "prompts"}
    assert made.model_dump(exclude=apart) == shipped.model_dump(exclude=apart)
    for reward in made.rewards:
        if reward.path is not None and not Path(reward.path).is_relative_to(BUNDLED):
            assert Path(reward.path).is_relative_to(tmp_path), "the user's models are the user's"


def test_init_never_overwrites_a_file(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text("mine")
    with pytest.raises(UserError, match=r"my\.toml already exists"):
        _npd("init", "sdxl", tmp_path / "my.toml")
    assert (tmp_path / "my.toml").read_text() == "mine"


def test_init_names_a_folder_that_it_makes(tmp_path: Path) -> None:
    made = _npd("init", "demo", tmp_path / "new" / "my.toml")
    assert f", in the new folder {tmp_path / 'new'}; next: " in made.stderr.replace("\n", "")
    assert "new folder" not in _npd("init", "demo", tmp_path / "other.toml").stderr


def test_bare_name_of_a_folder_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "settings").mkdir()
    with pytest.raises(ConfigError, match="settings: a folder, not a configuration file"):
        load_config("settings")
    (tmp_path / "demo").mkdir()
    assert load_config("demo").model.name == "demo-scenes", "the shipped one"


@pytest.mark.parametrize("command", ["init", "plan"])
def test_unknown_name_is_refused_with_the_nearest_and_all(command: str) -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'sdxl'\? \(shipped: demo, .*sdxl\)"):
        _npd(command, "sdlx")


def test_version_is_that_of_the_package() -> None:
    printed = _npd("--version")
    assert (printed.exit_code, printed.stdout) == (0, f"npd {version('noise-prompt-dataset')}\n")


def test_schema_accepts_shipped_configurations_and_refuses_an_unknown_key() -> None:
    schema = json.loads(_npd("options", "--schema").stdout)
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    for name in bundled_configs():
        values = tomllib.loads(bundled_config(name).read_text(encoding="utf-8"))
        assert list(validator.iter_errors(values)) == []
        values["units"]["sise"] = 3
        (error,) = validator.iter_errors(values)
        assert "sise" in error.message
