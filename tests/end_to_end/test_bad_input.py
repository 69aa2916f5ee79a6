"""Wrong input gives one clear message and leaves nothing behind."""

import subprocess
from pathlib import Path

import pytest

from infra.storage.seaweedfs import SeaweedFS
from pipeline.config.file import BUNDLED
from tests.end_to_end.builds import CONFIG, DEADLINE_S, Ended, Npd, module_command, write_config


@pytest.mark.parametrize(
    ("wrong", "right", "message"),
    [
        ("absent.txt", "prompts.txt", "absent.txt: "),
        ("seed_per_prompt", "seeds_per_prompt", "config.toml:3: prompts.seed_per_prompt"),
        ("no-model", "model", "no-model: no such model folder"),
        ('images = "jpeg"', 'images = "png"', "output.images"),
    ],
)
def test_bad_configuration_is_one_clear_message(
    npd: Npd, tmp_path: Path, wrong: str, right: str, message: str
) -> None:
    text = CONFIG.replace(f'/{right}"', f'/{wrong}"') if right == "model" else CONFIG
    config = write_config(tmp_path, text.replace(right, wrong) if text == CONFIG else text)
    ended = npd("build", config, "--out", tmp_path / "out")
    _assert_one_message(ended, message, code=2)
    assert not (tmp_path / "out").exists()


def test_model_of_another_class_is_one_clear_message(npd: Npd, tmp_path: Path) -> None:
    model = tmp_path / "kandinsky"
    model.mkdir()
    (model / "model_index.json").write_text('{"_class_name": "KandinskyPipeline"}')
    config = write_config(tmp_path, CONFIG.replace(str(BUNDLED / "model"), str(model)))
    ended = npd("build", config, "--out", tmp_path / "out", "--workers", 1)
    _assert_one_message(ended, "class 'KandinskyPipeline' is not supported", code=2)
    assert not (tmp_path / "out").exists(), "a plan that cannot be built must not be stored"


def test_missing_store_is_one_clear_message(
    npd: Npd, config_path: Path, s3_env: None, tmp_path: Path
) -> None:
    absent = npd("build", config_path, "--out", "s3://no-such-bucket/prefix")
    _assert_one_message(absent, "create the bucket or correct its name", code=2)
    (tmp_path / "file").touch()
    unwritable = npd("build", config_path, "--out", tmp_path / "file" / "out")
    _assert_one_message(unwritable, f"{tmp_path}/file", code=2)
    unknown = npd("build", config_path, "--out", "ftp://somewhere/out")
    _assert_one_message(unknown, "no store for ftp:// URLs", code=2)
    _assert_one_message(npd("status", tmp_path / "empty"), "no plan here", code=2)


def test_wrong_credentials_are_one_clear_message(
    npd: Npd,
    config_path: Path,
    s3_url: str,
    s3_server: SeaweedFS,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong" + s3_server.secret_key)
    ended = npd("build", config_path, "--out", s3_url)
    _assert_one_message(ended, "AWS_SECRET_ACCESS_KEY", code=2)
    assert s3_server.secret_key not in ended.err


def test_error_reaches_the_shell(tmp_path: Path) -> None:
    """In a real process the exit status is set and only the message is printed."""
    command = module_command(
        "pipeline.cli", "build", tmp_path / "absent.toml", "--out", tmp_path / "out"
    )
    ended = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S)
    _assert_one_message(
        Ended(ended.returncode, ended.stdout, ended.stderr), "no such configuration file", code=2
    )


def _assert_one_message(ended: Ended, message: str, *, code: int) -> None:
    assert ended.code == code, ended.err
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert errors == [line for line in ended.err.splitlines() if message in line]
    assert len(errors) == 1
    assert "Traceback" not in ended.out + ended.err
