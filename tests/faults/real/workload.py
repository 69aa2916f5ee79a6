"""What is built: many small units of the demo's models."""

from pathlib import Path

from tests.sealed import changed, demo_prompts, to_toml


def write_config(folder: Path, *, num_units: int, unit_size: int, workers: int) -> Path:
    """A configuration of so many units, in a folder. A candidate takes a tenth of a second."""
    prompts = demo_prompts(num_units * unit_size)
    assert len(prompts) == num_units * unit_size, "the demo has no more prompts"
    (folder / "prompts.txt").write_text("\n".join(prompts) + "\n", encoding="utf-8")
    settings = changed(
        prompts={"seeds_per_prompt": 1},
        units={"size": unit_size, "batch_size": 2},
        output={"shard_bytes": 100_000},
        cluster={"workers": workers},
    )
    path = folder / "config.toml"
    path.write_text(to_toml(settings), encoding="utf-8")
    return path
