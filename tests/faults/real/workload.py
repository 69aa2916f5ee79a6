"""What is built: many small units of the demo's models."""

from pathlib import Path

from pipeline.config import BUNDLED

_CONFIG = """\
[prompts]
path = "prompts.txt"
seed = 7

[splits]
train = 0.5
validation = 0.25
test = 0.25

[model]
path = "{model}"
name = "demo-scenes"

[sampling]
num_inference_steps = 4
guidance_scale = 1.0

[redenoise]
num_inference_steps = 4
num_steps = 2
guidance_scale = 3.0

[[rewards]]
name = "scene"
kind = "scene"
path = "{reward}"

[units]
size = {unit_size}
batch_size = 2

[output]
formats = ["arrow", "webdataset"]
images = "png"
shard_bytes = 100_000

[cluster]
workers = {workers}
"""


def write_config(folder: Path, *, num_units: int, unit_size: int, workers: int) -> Path:
    """A configuration of so many units (half a second each with four candidates), in a folder."""
    prompts = (BUNDLED / "prompts.txt").read_text().splitlines()
    wanted = num_units * unit_size
    assert wanted <= len(prompts)
    (folder / "prompts.txt").write_text("\n".join(prompts[:wanted]) + "\n")
    path = folder / "config.toml"
    path.write_text(
        _CONFIG.format(
            model=BUNDLED / "model",
            reward=BUNDLED / "reward",
            unit_size=unit_size,
            workers=workers,
        )
    )
    return path
