"""Whole builds with a real Ray, the demo's models and real stores, undisturbed and disturbed.

The reference is one undisturbed build by one worker; whatever else happens must end in its bytes.
"""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import ray

from infra.storage.seaweedfs import SeaweedFS
from pipeline import build as steps
from pipeline import cli
from pipeline.config import BUNDLED, Config, load_config
from pipeline.reader import NoisePairDataset
from pipeline.records import Split
from pipeline.storage import layout
from pipeline.storage.manifest import read_success
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store
from pipeline.storage.receipts import Commit

pytestmark = pytest.mark.usefixtures("ray_cluster")

NUM_UNITS = 6
PROMPTS = """\
a small red circle
three blue rings
a red circle and a blue square
a green cross
a large green triangle above a small orange circle
two yellow diamonds
a white ring left of a green circle
a purple square and a cyan cross
an orange triangle
a cyan circle below a red diamond
two purple squares
a yellow ring right of a white triangle
"""
CONFIG = f"""\
[prompts]
path = "prompts.txt"
seeds_per_prompt = 2
seed = 7

[splits]
train = 0.5
validation = 0.25
test = 0.25

[model]
path = "{BUNDLED / "model"}"
name = "demo-scenes"

[sampling]
num_inference_steps = 8
guidance_scale = 1.0

[redenoise]
num_inference_steps = 8
num_steps = 4
guidance_scale = 3.0

[[rewards]]
name = "scene"
kind = "scene"
path = "{BUNDLED / "reward"}"

[[rewards]]
name = "oracle"
kind = "scene_oracle"
select = false

[units]
size = 4
batch_size = 2

[output]
formats = ["arrow", "webdataset"]
images = "png"
shard_bytes = 20_000

[cluster]
workers = 2
"""
DEADLINE_S = 120
"""Far beyond what anything here takes, on a machine that is busy as well."""


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Npd = Callable[..., Ended]


@pytest.fixture
def npd(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Npd:
    """The command ``npd`` in this process, which spares it its imports and a Ray of its own."""

    def run(*arguments: object) -> Ended:
        monkeypatch.setattr(sys, "argv", ["npd", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        code = caught.value.code
        return Ended(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def _command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def _write_config(folder: Path, text: str = CONFIG) -> Path:
    (folder / "prompts.txt").write_text(PROMPTS)
    path = folder / "config.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def config_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _write_config(tmp_path_factory.mktemp("config"))


@pytest.fixture(scope="module")
def undisturbed(
    ray_cluster: None, config_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder that one worker built without any trouble; tests copy it and leave it alone."""
    folder = tmp_path_factory.mktemp("undisturbed")
    opened = steps.open_build(open_store(str(folder)), _with_one_worker(config_path))
    summaries = list(steps.compute(opened, steps.units_done(opened)))
    assert sorted(summary.unit for summary in summaries) == list(range(NUM_UNITS))
    assert {summary.commit for summary in summaries} == {Commit.MINE}
    steps.publish(opened)
    return folder


def _with_one_worker(config_path: Path) -> Config:
    """For builds whose workers are not what is tested: loading models is most of their time."""
    config = load_config(config_path)
    cluster = config.cluster.model_copy(update={"workers": 1})
    return config.model_copy(update={"cluster": cluster})


@pytest.fixture
def copied(undisturbed: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed build, to be damaged."""
    return shutil.copytree(undisturbed, tmp_path / "copy")


def _sealed_bytes(url: object) -> dict[str, str]:
    """The digest of every sealed object: shards, ledger, manifests and ``_SUCCESS``."""
    store = open_store(str(url))
    sealed = ("shards/", "ledgers/", "manifests/", layout.SUCCESS_KEY)
    return {
        info.key: hashlib.sha256(store.get(info.key)).hexdigest()
        for info in store.list("")
        if info.key.startswith(sealed)
    }


def _receipts(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("receipts/")}


def _files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Everything in a folder with its time of writing."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def _plan_id(folder: Path) -> str:
    return next((folder / "plans").iterdir()).name


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


# What a build comes to, wherever and by however many workers


def test_build_with_two_workers_gives_the_bytes_of_one(
    npd: Npd, config_path: Path, undisturbed: Path, tmp_path: Path
) -> None:
    ended = npd("build", config_path, "--out", tmp_path / "out", "--workers", 2)
    assert ended.code == 0, ended.err
    assert "24 candidates in 6 units, 2 workers" in ended.err
    assert f"sealed at file://{tmp_path}/out" in ended.err
    sealed = _sealed_bytes(tmp_path / "out")
    assert sealed == _sealed_bytes(undisturbed)
    assert len([key for key in sealed if key.endswith(".arrow")]) > len(Split), "several shards"
    assert len([key for key in sealed if key.endswith(".tar")]) > len(Split)


def test_build_into_s3_gives_the_bytes_of_a_folder(
    npd: Npd, config_path: Path, undisturbed: Path, s3_url: str
) -> None:
    # In a process of its own: workers take the credentials from the Ray that starts them.
    command = _command("pipeline.cli", "build", config_path, "--out", s3_url, "--workers", 1)
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    assert _sealed_bytes(s3_url) == _sealed_bytes(undisturbed)
    verified = npd("verify", s3_url)
    assert (verified.code, verified.err.count("wrong")) == (0, 0)


def test_build_as_a_job_on_a_cluster_that_runs_gives_the_same_bytes(
    config_path: Path, undisturbed: Path, tmp_path: Path
) -> None:
    address = ray.get_runtime_context().gcs_address
    subprocess.run(
        _command("jobs.build", "--config", config_path, "--out", tmp_path / "out"),
        env=os.environ | {"RAY_ADDRESS": address},
        check=True,
        timeout=DEADLINE_S,
    )
    assert _sealed_bytes(tmp_path / "out") == _sealed_bytes(undisturbed)
    assert ray.is_initialized()
    assert ray.cluster_resources(), "the cluster is left as it was"


def test_sealed_objects_tell_nothing_of_this_machine(undisturbed: Path) -> None:
    receipts = [json.loads(data) for data in _receipts(open_store(str(undisturbed))).values()]
    secrets = {receipt[name] for receipt in receipts for name in ("attempt_id", "host", "started")}
    secrets |= {str(undisturbed), str(BUNDLED)}
    for key in _sealed_bytes(undisturbed):
        data = (undisturbed / key).read_bytes()
        assert [secret for secret in secrets if secret.encode() in data] == []


# Killed


@pytest.fixture
def killed(config_path: Path, tmp_path: Path) -> Iterator[Path]:
    """A build whose driver was killed half-way, with all its processes gone."""
    out = tmp_path / "out"
    command = _command("pipeline.cli", "build", config_path, "--out", out)
    with subprocess.Popen(command, start_new_session=True) as driver:
        _until(lambda: len(list(out.glob("receipts/*/*.json"))) >= 2 or driver.poll() is not None)
        # Ray's processes; they must end with the driver that started them.
        started = psutil.Process(driver.pid).children(recursive=True)
        titles = {process: " ".join(_command_line(process)).strip() for process in started}
        driver.send_signal(signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL, "it ended before it was killed"
    assert any(title.startswith("ray::UnitWorker") for title in titles.values())
    # Ray's own agents, which touch no store, give up only after a minute: seen, 63 s.
    agents = [process for process, title in titles.items() if title.endswith("Agent")]
    _, left = psutil.wait_procs([process for process in started if process not in agents], 30)
    yield out
    for process in [*left, *agents]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert left == []


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has just ended
        return []


def test_driver_killed_the_same_command_resumes_and_ends_in_the_same_bytes(
    npd: Npd, config_path: Path, killed: Path, undisturbed: Path
) -> None:
    store = open_store(str(killed))
    before = _receipts(store)
    assert 2 <= len(before) < NUM_UNITS
    state = npd("status", killed)
    share = f"{len(before)} of {NUM_UNITS} units ({len(before) / NUM_UNITS:.0%}), not sealed"
    assert (state.code, state.out) == (0, f"plan {_plan_id(killed)}: {share}\n")
    unsealed = npd("verify", killed)
    assert unsealed.code == 1
    assert "nothing is sealed here" in unsealed.err

    again = npd("build", config_path, "--out", killed, "--workers", 1)
    assert again.code == 0, again.err
    assert f"resuming: {len(before)} units are done" in again.err
    assert before.items() <= _receipts(store).items(), "receipts stay as they were"
    assert _sealed_bytes(killed) == _sealed_bytes(undisturbed)
    assert npd("verify", killed).code == 0


def test_resumed_build_computes_only_units_without_a_receipt(
    config_path: Path, copied: Path, undisturbed: Path
) -> None:
    """Killed between a unit's data and its receipt, and between the manifest and ``_SUCCESS``."""
    for unit in (1, 4):
        (copied / layout.receipt_key(_plan_id(copied), unit)).unlink()
    (copied / layout.SUCCESS_KEY).unlink()
    before = _files(copied)

    opened = steps.open_build(open_store(str(copied)), _with_one_worker(config_path))
    assert steps.sealed(opened) is None
    summaries = list(steps.compute(opened, steps.units_done(opened)))
    assert sorted(summary.unit for summary in summaries) == [1, 4]
    steps.publish(opened)

    assert before.items() <= _files(copied).items(), "nothing that was there is written again"
    assert _sealed_bytes(copied) == _sealed_bytes(undisturbed)


def test_worker_killed_the_build_goes_on_and_ends_in_the_same_bytes(
    config_path: Path, undisturbed: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    opened = steps.open_build(open_store(str(tmp_path)), load_config(config_path))
    summaries = steps.compute(opened, steps.units_done(opened))
    done = [next(summaries).unit]
    # Both workers have more to do: after one unit of six, three or four are in flight.
    workers = [
        process
        for process in psutil.Process().children(recursive=True)
        if _command_line(process)[:1] and _command_line(process)[0].startswith("ray::UnitWorker")
    ]
    assert workers
    for process in workers:
        process.kill()
    done += [summary.unit for summary in summaries]
    assert sorted(done) == list(range(NUM_UNITS))
    assert "a worker died and is replaced" in caplog.text
    steps.publish(opened)
    assert _sealed_bytes(tmp_path) == _sealed_bytes(undisturbed)


# Sealed


def test_build_of_what_is_sealed_does_nothing(npd: Npd, config_path: Path, copied: Path) -> None:
    before = _files(copied)
    ended = npd("build", config_path, "--out", copied)
    assert ended.code == 0
    assert "already sealed; nothing to do" in ended.err
    assert _files(copied) == before


def test_another_plan_is_refused_and_can_be_added(npd: Npd, tmp_path: Path, copied: Path) -> None:
    other = _write_config(tmp_path, CONFIG.replace("seed = 7", "seed = 8"))
    first, before = _plan_id(copied), _files(copied)
    refused = npd("build", other, "--out", copied)
    assert refused.code == 2
    assert f"already holds plan {first}" in refused.err
    assert "--add" in refused.err
    assert _files(copied) == before

    pairs = {split: list(_samples(copied, split)) for split in Split}
    added = npd("build", other, "--out", copied, "--add", "--workers", 1)
    assert added.code == 0, added.err
    success = read_success(open_store(str(copied)))
    assert success is not None
    assert first in [sealed.plan_id for sealed in success.manifests]
    assert len(success.manifests) == 2
    for split in Split:
        both = list(_samples(copied, split))
        assert set(pairs[split]) <= set(both)
        assert len(set(both)) == len(both)
    assert sum(len(NoisePairDataset(str(copied), split)) for split in Split) > sum(
        map(len, pairs.values())
    )
    assert npd("status", copied).out.count("6 of 6 units (100%), sealed") == 2
    assert npd("verify", copied).code == 0


def _samples(folder: Path, split: Split) -> Iterator[str]:
    return (sample["sample_id"] for sample in NoisePairDataset(str(folder), split))


def test_verify_passes_what_is_whole_and_names_what_is_damaged(npd: Npd, copied: Path) -> None:
    whole = npd("verify", copied)
    assert whole.code == 0
    assert whole.out.startswith(f"1 plans, {NUM_UNITS} units, 24 candidates")
    assert whole.out.endswith("0 problems\n")

    shard = next((copied / "shards").rglob("train-*.arrow"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    damaged = npd("verify", copied)
    assert damaged.code == 1
    assert f"wrong: {shard.relative_to(copied)}" in damaged.out


# Before a build


def test_plan_prints_the_size_of_a_build_and_writes_nothing(
    npd: Npd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Path
) -> None:
    config = _write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = _files(tmp_path)
    ended = npd("plan", config)
    assert ended.code == 0, ended.err
    figures = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in ended.out.splitlines())
    assert figures["plan"] == _plan_id(undisturbed)
    assert figures["candidates"] == "24"
    assert figures["units"] == "6 of 4 candidates"
    # Two images of 8 evaluations; 4 steps down at two evaluations each and 4 back at one.
    assert figures["forward evaluations"] == "28 a candidate, 672 in all"
    assert "at most" in figures["bytes"]
    assert figures["time"].startswith("about ")
    assert _files(tmp_path) == before


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
    config = _write_config(tmp_path, text.replace(right, wrong) if text == CONFIG else text)
    ended = npd("build", config, "--out", tmp_path / "out")
    _assert_one_message(ended, message, code=2)
    assert not (tmp_path / "out").exists()


def test_model_of_another_class_is_one_clear_message(npd: Npd, tmp_path: Path) -> None:
    model = tmp_path / "flux"
    model.mkdir()
    (model / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    config = _write_config(tmp_path, CONFIG.replace(str(BUNDLED / "model"), str(model)))
    ended = npd("build", config, "--out", tmp_path / "out", "--workers", 1)
    _assert_one_message(ended, "class 'FluxPipeline' is not supported", code=2)
    assert not (tmp_path / "out").exists(), "a plan that cannot be built must not be stored"


def test_store_that_is_not_there_is_one_clear_message(
    npd: Npd, config_path: Path, s3_env: None, tmp_path: Path
) -> None:
    absent = npd("build", config_path, "--out", "s3://no-such-bucket/prefix")
    _assert_one_message(absent, "create the bucket or correct its name", code=1)
    (tmp_path / "file").touch()
    unwritable = npd("build", config_path, "--out", tmp_path / "file" / "out")
    _assert_one_message(unwritable, f"{tmp_path}/file", code=1)
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
    _assert_one_message(ended, "AWS_SECRET_ACCESS_KEY", code=1)
    assert s3_server.secret_key not in ended.err


def test_error_reaches_the_shell(tmp_path: Path) -> None:
    """The same in a real process: its exit status, and nothing beside the message."""
    command = _command("pipeline.cli", "build", tmp_path / "absent.toml", "--out", tmp_path / "out")
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
