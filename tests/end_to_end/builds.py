"""The build of the end-to-end tests: its configuration, commands, and readers of its output."""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.file import BUNDLED
from pipeline.storage import layout
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.open import open_store

NUM_UNITS = 12
"""Three times as many units as two workers have in flight, so a killed build is unfinished."""
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
size = 2
batch_size = 2

[output]
formats = ["arrow", "webdataset"]
images = "png"
shard_bytes = 20_000

[cluster]
workers = 2
"""
DEADLINE_S = 300
"""Far more than any step here takes, even on a busy machine."""


@dataclass(frozen=True)
class Ended:
    """Exit status and output of a command."""

    code: int
    out: str
    err: str


Npd = Callable[..., Ended]


def module_command(module: str, *arguments: object) -> list[str]:
    return [sys.executable, "-m", module, *map(str, arguments)]


def write_config(folder: Path, text: str = CONFIG) -> Path:
    (folder / "prompts.txt").write_text(PROMPTS)
    path = folder / "config.toml"
    path.write_text(text)
    return path


def sealed_bytes(url: object) -> dict[str, str]:
    """Return the digest of every sealed object: shards, ledger, manifests and ``_SUCCESS``."""
    store = open_store(str(url))
    sealed = ("shards/", "ledgers/", "manifests/", layout.SUCCESS_KEY)
    return {
        info.key: hashlib.sha256(store.get(info.key)).hexdigest()
        for info in store.list("")
        if info.key.startswith(sealed)
    }


def stored_receipts(store: ObjectStore) -> dict[str, bytes]:
    return {info.key: store.get(info.key) for info in store.list("receipts/")}


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Return the bytes of each file in a folder, with its time of writing."""
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def plan_id(folder: Path) -> str:
    return next((folder / "plans").iterdir()).name
