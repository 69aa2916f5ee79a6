"""Tests of the command ``npd evaluate``."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipeline.cli.app import app
from pipeline.config.file import BUNDLED, load_config
from pipeline.core.errors import ModelError, UserError
from pipeline.evaluate.trial.settings import networks_of, refuse_other_networks
from pipeline.npnet import NPNet
from pipeline.npnet.config import SmallLayout
from tests.evaluate.trial.networks import CONFIG, trial_config
from tests.npnet.origins import OTHER_MODEL, save_trained_for
from tests.sealed import Built, to_toml


def _evaluate(*arguments: object) -> str:
    """Run the command and return its output. Errors are raised."""
    ended = CliRunner().invoke(app, ["evaluate", *map(str, arguments)], catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    return ended.output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    trial_config(tmp_path)
    return tmp_path / "build.toml"


@pytest.fixture
def network(tmp_path: Path) -> Path:
    """Return the folder of a new network, which does not change the noise."""
    layout = SmallLayout(latent_shape=(4, 8, 8), prompt_width=128, width=16, blocks=1)
    NPNet.new(layout, seed=0).save(tmp_path / "npnet")
    return tmp_path / "npnet"


def test_untrained_network_gains_nothing_on_prompts_that_were_not_seen(
    sealed_folder: Path, config: Path, network: Path, tmp_path: Path
) -> None:
    out, log = tmp_path / "trial", tmp_path / "trial.log"
    output = _evaluate(
        *("--config", config, "--rewards", "demo", "--npnet", f"new={network}"),
        *("--data", sealed_folder, "--prompts", BUNDLED / "held_out.txt", "--limit", 3),
        *("--seeds-per-prompt", 1, "--steps", 1, "--limit-guidance", 2, "--out", out),
        *("--log-format", "json", "--log-file", log),
    )
    messages = [json.loads(line)["message"] for line in log.read_text("utf-8").splitlines()]
    assert messages[0].startswith("3 prompts with 1 seed each, ")
    assert messages[-3].endswith(" (100%)") and messages[-1].startswith("written: ")
    assert "new is indistinguishable from standard noise" in output
    assert "No prompt is in the train or validation split" in output
    assert "The data set: 48 candidates" in output
    findings = json.loads((out / "trial.json").read_text("utf-8"))["findings"]
    gains = [found["gain"] for found in findings["comparisons"] if found["arm"] == "new"]
    assert len(gains) == 2, "both rewards of the demo"
    for gain in gains:
        assert gain["num_pairs"] == 3 and gain["gain"] == {"value": 0, "low": 0, "high": 0}
    assert {found["category"] for found in findings["categories"]} >= {"count: 2", "colour: red"}


def test_prompts_that_were_trained_on_are_refused_before_anything_runs(
    sealed_folder: Path, built: Built, config: Path, tmp_path: Path
) -> None:
    out = tmp_path / "trial"
    with pytest.raises(UserError, match="are in the train or validation split"):
        _evaluate(
            *("--config", config, "--data", sealed_folder),
            *("--prompts", built.config.prompts.path, "--out", out),
        )
    assert not out.exists()


def test_networks_that_are_missing_or_share_a_name_are_refused(
    config: Path, network: Path, tmp_path: Path
) -> None:
    start = ("--config", config, "--prompts", BUNDLED / "held_out.txt", "--out", tmp_path / "out")
    with pytest.raises(ModelError, match="no noise prompt network"):
        _evaluate(*start, "--npnet", tmp_path)
    with pytest.raises(UserError, match="must be unique, and 'NPNet' is not"):
        _evaluate(*start, "--npnet", network, "--npnet", network)


def test_network_of_another_model_is_refused_unless_allowed(
    config: Path, network: Path, tmp_path: Path
) -> None:
    save_trained_for(OTHER_MODEL, NPNet.load(network), network)
    with pytest.raises(ModelError, match=r"trained for 'other'.*give --allow-other-model"):
        _evaluate(
            *("--config", config, "--prompts", BUNDLED / "held_out.txt"),
            *("--npnet", network, "--out", tmp_path / "out"),
        )
    assert not (tmp_path / "out").exists()
    model = load_config(config).model
    refuse_other_networks(networks_of([str(network)]), model, allow_other_model=True)


def test_configuration_without_golden_noise_is_refused(network: Path, tmp_path: Path) -> None:
    settings = {name: section for name, section in CONFIG.items() if name != "redenoise"}
    file = tmp_path / "loop.toml"
    file.write_text(to_toml({**settings, "npnet": {"path": str(network)}}), "utf-8")
    with pytest.raises(UserError, match=r"give a configuration with \[redenoise\]"):
        _evaluate(
            *("--config", file, "--prompts", BUNDLED / "held_out.txt", "--out", tmp_path / "out")
        )
