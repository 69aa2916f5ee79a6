"""Configuration files: those of a user, and those that ship with the package."""

import json
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from pipeline.config.proposers import CustomProposer, NPNetProposer, ProposerConfig
from pipeline.config.rewards import RewardConfig
from pipeline.config.section import SourceConfig
from pipeline.config.sections import Config
from pipeline.config.toml_file import TomlFile, read_toml
from pipeline.core.errors import ConfigError

_Source = TypeVar("_Source", bound=SourceConfig)

BUNDLED = Path(__file__).parents[1] / "demo"
"""Folder of the demo's configurations, models and prompts."""

RECIPES = Path(__file__).parents[1] / "recipes"
"""Folder of the configurations for published models."""


def load_config(name: str | Path) -> Config:
    """Read a configuration file, or a shipped configuration by its bare name.

    Relative paths in the result are absolute, resolved against the folder of the file.

    Raises ``ConfigError``. Its message names the file, the line, the key and the nearest valid key.
    """
    file = read_toml(_locate(Path(name)))
    try:
        config = Config.model_validate(file.values)
    except ValidationError as error:
        raise file.error(error, Config) from None
    return _with_absolute_paths(config, file)


def bundled_configs() -> list[str]:
    """Return the bare names of the configurations that ship with the package."""
    return sorted(_bundled())


def bundled_config(name: str) -> Path:
    """Return the file of a shipped configuration. Raises ``ConfigError`` for an unknown name."""
    found = _bundled()
    if name not in found:
        raise ConfigError(
            f"{name}: no such file, and no shipped configuration has this name{_nearest(name)} "
            f"(shipped: {', '.join(sorted(found))})"
        )
    return found[name]


def _bundled() -> dict[str, Path]:
    return {path.stem: path for folder in (BUNDLED, RECIPES) for path in folder.glob("*.toml")}


def _nearest(name: str) -> str:
    """Return a suggestion for a name that no shipped configuration has; empty if none is near."""
    near = get_close_matches(name, _bundled(), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _locate(path: Path) -> Path:
    """Return the path itself, or the file of the shipped configuration with that bare name."""
    # A file of the user takes precedence over a shipped configuration of the same name, and that
    # over a folder.
    is_bare_name = path.suffix == "" and path.name != "" and path.parent == Path()
    try:
        if is_bare_name and not path.is_file() and (path.name in _bundled() or not path.exists()):
            return bundled_config(path.name)
        if not path.exists():
            raise ConfigError(f"{path}: no such configuration file{_nearest(path.stem)}")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    return path


def _with_absolute_paths(config: Config, file: TomlFile) -> Config:
    # Workers start in other folders, where a relative path would name another file.
    def absolute(path: str) -> str:
        try:
            resolved = (file.path.parent / Path(path).expanduser()).resolve()
            resolved.exists()
        except PermissionError:  # on this machine, which may only start the build
            pass
        except (RuntimeError, ValueError) as error:  # a loop of links, an unknown user, a NUL
            raise ConfigError(f"{file.path}: {path!r} is not a path: {error}") from None
        except OSError as error:  # a name that is too long
            raise ConfigError(f"{file.path}: {path!r} is not a path: {error.strerror}") from None
        return str(resolved)

    def located(section: _Source) -> _Source:
        path = None if section.path is None else absolute(section.path)
        return section.model_copy(update={"path": path})

    def reward(section: RewardConfig) -> RewardConfig:
        code = None if section.code is None else absolute(section.code)
        return located(section).model_copy(update={"code": code})

    def proposer(section: ProposerConfig) -> ProposerConfig:
        match section:
            case NPNetProposer():
                return section.model_copy(update={"path": absolute(section.path)})
            case CustomProposer() if section.code is not None:
                return section.model_copy(update={"code": absolute(section.code)})
        return section

    npnet = config.npnet
    if npnet is not None:
        npnet = npnet.model_copy(update={"path": absolute(npnet.path)})
    return config.model_copy(
        update={
            "prompts": config.prompts.located(absolute),
            "model": located(config.model).model_copy(
                update={
                    "config": config.model.config and absolute(config.model.config),
                    "loras": tuple(located(lora) for lora in config.model.loras),
                    "vae": config.model.vae and located(config.model.vae),
                }
            ),
            "npnet": npnet,
            "proposers": tuple(map(proposer, config.proposers)),
            "rewards": tuple(map(reward, config.rewards)),
        }
    )


_PATH = re.compile(r'^(?P<key>path\s*=\s*)"(?P<value>[^"]*)"', re.MULTILINE)


def starter_text(name: str) -> str:
    """Return a shipped configuration with paths that work wherever the text is written.

    Paths of files that ship with the package become absolute. Other paths, such as
    ``models/hps_v2``, stay relative to the file that the user writes. Raises ``ConfigError`` for an
    unknown name.
    """
    file = bundled_config(name)

    def absolute(found: re.Match[str]) -> str:
        path = file.parent / found["value"]
        # Basic strings of TOML quote as JSON does.
        return found["key"] + json.dumps(str(path.resolve()) if path.exists() else found["value"])

    text = _PATH.sub(absolute, file.read_text(encoding="utf-8"))
    return (
        f"# Copied by `npd init {Path(name).stem}`. `npd options` lists every setting.\n#\n{text}"
    )
