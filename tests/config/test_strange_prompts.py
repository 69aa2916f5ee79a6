"""Strange values in ``[prompts]`` are errors of the configuration, with its file."""

from pathlib import Path

import pytest

from pipeline.config.file import BUNDLED, load_config
from pipeline.core.errors import ConfigError, PromptFileError
from pipeline.models.resolved_models import ResolvedModels
from pipeline.prompts.choosing import ChosenPrompts
from pipeline.workflows.plan import prompts_of

DEMO = (BUNDLED / "demo.toml").read_text("utf-8")
PATH = 'path = "prompts.txt"'


def _config(folder: Path, section: str) -> Path:
    assert PATH in DEMO
    (folder / "ok.txt").write_text("a cat\n")
    path = folder / "c.toml"
    path.write_text(DEMO.replace(PATH, section, 1))
    return path


def _prompts(path: Path) -> ChosenPrompts:
    config = load_config(path)
    return prompts_of(config, ResolvedModels(config))


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ('path = "loop/p.txt"', "'loop/p.txt' is not a path: Symlink loop"),
        ('path = "a\\u0000b.txt"', "is not a path: embedded null byte"),
        ('path = "~nobody_has_this_name/p.txt"', "is not a path: Could not determine home"),
        (f'path = "{"n" * 300}"', "is not a path: File name too long"),
        ('path = "ok.txt"\nblock_list = "loop"', "'loop' is not a path"),
        ('path = "ok.txt"\nsafety = {entry = "f:F", code = "loop"}', "'loop' is not a path"),
        ('path = "ok.txt"\nsample = ' + "9" * 5000, "not valid TOML: Exceeds the limit"),
        ('path = "ok.txt"\nx = ' + "[" * 9000 + "]" * 9000, "not valid TOML: nested too deeply"),
        (
            'sources = [{name = "a", path = "ok.txt", weight = 1e308}]',
            "must be at most 10000",
        ),
        ('sources = [{name = "a", path = "ok.txt", subset = "x"}]', "subset belongs to hub"),
    ],
)
def test_strange_setting_is_a_config_error(tmp_path: Path, section: str, expected: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    path = _config(tmp_path, section)
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path)) and expected in str(caught.value)


def test_limit_beyond_every_file_reads_all(tmp_path: Path) -> None:
    source = f'sources = [{{name = "a", path = "ok.txt", limit = {10**22}}}]'
    assert _prompts(_config(tmp_path, source)).prompts == ("a cat",)


def test_split_of_a_file_is_not_passed_over(tmp_path: Path) -> None:
    config = _config(tmp_path, 'sources = [{name = "a", path = "ok.txt", split = "train"}]')
    with pytest.raises(PromptFileError, match=r"ok\.txt: a file has no splits; remove split"):
        _prompts(config)
