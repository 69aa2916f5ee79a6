"""``[[proposers]]``: kinds, short form, and the error message of every mistake."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.config.file import load_config
from pipeline.config.proposers import BestOfNProposer, CustomProposer, RedenoiseProposer
from pipeline.config.sections import Config
from pipeline.core.errors import ConfigError
from tests.sealed import SETTINGS, changed, to_toml

REDENOISE = {"kind": "redenoise", **SETTINGS["redenoise"]}


def _file(folder: Path, *proposers: dict[str, Any], **sections: Any) -> Path:
    settings = changed(proposers=list(proposers), **sections)
    path = folder / "build.toml"
    short = {"redenoise"} if proposers else set()
    path.write_text(to_toml({n: s for n, s in settings.items() if n not in short}))
    return path


def _load(folder: Path, *proposers: dict[str, Any]) -> Config:
    return load_config(_file(folder, *proposers))


def _error(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    return str(caught.value)


def test_short_form_is_one_proposer_named_after_its_kind(tmp_path: Path) -> None:
    (short,) = load_config(_file(tmp_path)).all_proposers()
    (long,) = _load(tmp_path, REDENOISE).all_proposers()
    assert isinstance(short, RedenoiseProposer) and short == long
    assert (short.name, short.num_inference_steps) == ("redenoise", 8)


def test_several_proposers_of_every_kind_are_read_in_their_order(tmp_path: Path) -> None:
    steps = {"num_inference_steps": 4, "num_steps": 2, "guidance_scale": 3.0}
    config = _load(
        tmp_path,
        {"kind": "best_of_n", "name": "random", "n": 3},
        REDENOISE,
        {"kind": "zigzag", **steps},
        {"kind": "trajectory", "inversion": "exact"},
        {"kind": "npnet", "path": "nets/a"},
        {"kind": "custom", "entry": "pull:Pull", "code": "mine", "options": {"strength": 0.5}},
    )
    names = ["random", "redenoise", "zigzag", "trajectory", "npnet", "custom"]
    assert [proposer.name for proposer in config.all_proposers()] == names
    first, *_, network, custom = config.all_proposers()
    assert isinstance(first, BestOfNProposer) and first.n == 3
    assert getattr(network, "path", None) == str(tmp_path / "nets" / "a")
    assert isinstance(custom, CustomProposer) and custom.code == str(tmp_path / "mine")
    assert custom.options == {"strength": 0.5}


@pytest.mark.parametrize(
    ("proposer", "line", "message"),
    [
        (
            {**REDENOISE, "guidance_scael": 3},
            "guidance_scael",
            "proposers.0.guidance_scael: unknown key; did you mean 'guidance_scale'?",
        ),
        (
            {"kind": "best_of_n", "n": 2, "seeds": 3},
            "seeds",
            "proposers.0.seeds: unknown key; valid here: kind, name, n",
        ),
        ({"kind": "best_of_n"}, "[[proposers]]", "proposers.0.n: required, and not set"),
        ({"kind": "best_of_n", "n": 0}, "n", "proposers.0.n: must be at least 1; got 0"),
        (
            {"kind": "best_of"},
            "kind",
            "proposers.0.kind: must be one of redenoise, trajectory",
        ),
        ({"n": 2}, "[[proposers]]", "proposers.0.kind: required, and not set"),
        ({**REDENOISE, "num_steps": 9}, "[[proposers]]", "num_steps is 9, more than"),
        (
            {"kind": "trajectory", "name": "A B"},
            "name",
            "proposers.0.name: must be a name of",
        ),
    ],
)
def test_proposer_mistakes_name_line_and_key(
    tmp_path: Path, proposer: dict[str, Any], line: str, message: str
) -> None:
    path = _file(tmp_path, proposer)
    lines = path.read_text().splitlines()
    start = lines.index("[[proposers]]")
    number = next(i for i, text in enumerate(lines[start:], start + 1) if text.startswith(line))
    assert message in _error(path)
    assert _error(path).startswith(f"{path}:{number}: ")


def test_two_proposers_of_one_name_are_refused(tmp_path: Path) -> None:
    assert "two proposers have one name" in _error(_file(tmp_path, REDENOISE, REDENOISE))


@pytest.mark.parametrize("sections", [{"npnet": {"path": "a"}}, {}])
def test_both_forms_are_refused(tmp_path: Path, sections: dict[str, Any]) -> None:
    settings = changed(proposers=[REDENOISE], **sections)
    path = tmp_path / "build.toml"
    path.write_text(to_toml(settings))
    assert "set one of the three" in _error(path)


def test_rule_that_is_none_is_refused(tmp_path: Path) -> None:
    assert "selection.rule" in _error(_file(tmp_path, selection={"rule": "any"}))
