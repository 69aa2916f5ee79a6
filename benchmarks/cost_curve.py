"""Measure what judging is worth: evaluations spent on data against the gain of the trained network.

    python -m benchmarks.cost_curve --out out/cost [--budget 200000] [--steps 1200] [--workers 2]

For each judging policy and for three budgets, a data set of the demo is built, a small network is
trained on it, and all networks are compared in one trial on held-out prompts. The first policy
judges every candidate and keeps the winners. The second judges a sample of 5% and keeps all others.
The images that judge are sampled with as many steps as those of the trial, as in published recipes.

``cost_curve.json`` has the figures, and ``--plot FILE`` draws them (``pip install matplotlib``). A
run that is interrupted continues. It takes about half an hour on two cores.
"""

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pipeline.config.file import BUNDLED, load_config
from pipeline.models.resolved_models import ResolvedModels
from pipeline.stages.build_spec import BuildSpec
from pipeline.storage.durable import atomic_write
from pipeline.storage.open import open_store
from pipeline.storage.success import read_manifest, read_success
from pipeline.workflows.plan import draft_plan, prompts_of

POLICIES = {
    "all": "",
    "sample": '[judging]\npolicy = "sample"\nshare = 0.05\n',
}
FRACTIONS = (1 / 16, 1 / 4, 1.0)
STEPS = 20
"""Inference steps of all images."""

_SEEDS = 4

_CONFIG = """
[prompts]
path = "prompts.txt"
seeds_per_prompt = {seeds}
seed = 7

[splits]
train = 0.95
validation = 0.05

[model]
path = "{demo}/model"
name = "demo-scenes"

[sampling]
num_inference_steps = {steps}
guidance_scale = 1.0

[redenoise]
num_inference_steps = 10
num_steps = 5
guidance_scale = 4.0
inversion_guidance_scale = 1.0

[[rewards]]
name = "scene"
kind = "scene"
path = "{demo}/reward"

[units]
size = 640
batch_size = 32

{judging}
[cluster]
workers = {workers}
"""


@dataclass(frozen=True, kw_only=True)
class Point:
    """A data set with its network: one point of the curve."""

    policy: str
    candidates: int
    folder: Path

    @property
    def name(self) -> str:
        """Name of the network in the trial."""
        return f"{self.policy}-{self.candidates}"

    @property
    def data(self) -> Path:
        """Folder of the data set."""
        return self.folder / "pairs"

    @property
    def network(self) -> Path:
        """Folder of the network."""
        return self.folder / "network"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=int, default=200_000, help="evaluations of a data set")
    parser.add_argument("--steps", type=int, default=1200, help="steps of training")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--plot", type=Path, help="also draw the curve to this SVG or PNG file")
    options = parser.parse_args()
    points = [*_points(options.out, options.budget, options.workers)]
    for point in points:
        _run("-m", "pipeline.cli", "build", str(point.folder / "build.toml"), "--out", point.data)
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(lambda point: _train(point, options.steps), points))
    trial = options.out / "trial"
    networks = [arg for p in points for arg in ("--npnet", f"{p.name}={p.network}")]
    _run(
        *("-m", "pipeline.cli", "evaluate", "--config", points[-1].folder / "build.toml"),
        *("--rewards", "demo", "--prompts", BUNDLED / "held_out.txt", "--steps", str(STEPS)),
        *("--limit-controls", "2", "--limit-guidance", "2", "--workers", str(options.workers)),
        *(*networks, "--out", trial),
    )
    rows = [*_rows(points, json.loads((trial / "trial.json").read_text()))]
    atomic_write(options.out / "cost_curve.json", [json.dumps(rows, indent=2).encode()])
    for row in rows:
        print(
            f"{row['policy']:7} {row['candidates']:6,} candidates {row['evaluations']:8,} "
            f"evaluations {row['pairs']:6,} pairs  gain {row['gain']:+.3f} "
            f"[{row['low']:+.3f}, {row['high']:+.3f}]"
        )
    if options.plot is not None:
        _plot(rows, options.plot)


def _points(out: Path, budget: int, workers: int) -> Iterator[Point]:
    """Write the configurations and yield the points, those of equal budgets side by side."""
    prompts = (BUNDLED / "train_prompts.txt").read_text(encoding="utf-8").splitlines()
    random.Random(0).shuffle(prompts)
    for fraction in FRACTIONS:
        for policy, judging in POLICIES.items():
            content = _CONFIG.format(
                seeds=_SEEDS, demo=BUNDLED, steps=STEPS, judging=judging, workers=workers
            )
            folder = out / f"{policy}-{budget * fraction:.0f}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "build.toml").write_text(content, encoding="utf-8")
            (folder / "prompts.txt").write_text("\n".join(prompts), encoding="utf-8")
            each = _evaluations(folder / "build.toml")
            number = min(round(budget * fraction / each / _SEEDS), len(prompts))
            (folder / "prompts.txt").write_text("\n".join(prompts[:number]), encoding="utf-8")
            yield Point(policy=policy, candidates=number * _SEEDS, folder=folder)


def _evaluations(path: Path) -> float:
    """Return the mean evaluations of a candidate."""
    config = load_config(path)
    plan, _ = draft_plan(config, prompts_of(config, ResolvedModels(config)))
    return BuildSpec.of(plan).mean_evaluations()


def _train(point: Point, steps: int) -> None:
    _run(
        *("-m", "jobs.train_npnet", "--data", point.data, "--out", point.network),
        *("--model", BUNDLED / "model", "--steps", str(steps)),
    )


def _rows(points: list[Point], trial: dict[str, Any]) -> Iterator[dict[str, Any]]:
    judging = trial["findings"]["judging"]
    gains = {
        each["arm"]: each["gain"]["gain"]
        for each in trial["findings"]["comparisons"]
        if each["against"] == "standard noise" and each["reward"] == judging
    }
    for name in ("golden noise", *(point.name for point in points)):
        gain = {"gain": gains[name]["value"], **{k: gains[name][k] for k in ("low", "high")}}
        point = next((each for each in points if each.name == name), None)
        if point is None:
            yield {"policy": name, "candidates": 0, "evaluations": 0, "pairs": 0, **gain}
            continue
        store = open_store(str(point.data))
        success = read_success(store)
        assert success is not None, "the build has sealed it"
        manifest = read_manifest(store, success.manifests[0])
        plan = manifest.plan
        yield {
            "policy": point.policy,
            "candidates": plan.num_candidates,
            "evaluations": round(plan.num_candidates * BuildSpec.of(plan).mean_evaluations()),
            "pairs": manifest.funnel.in_shards,
            **gain,
        }


def _plot(rows: list[dict[str, Any]], path: Path) -> None:
    # Not a dependency: only this drawing uses it.
    plots: Any = import_module("matplotlib.pyplot")
    figure, axes = plots.subplots(figsize=(7, 4.2), layout="constrained")
    (golden,) = (row for row in rows if row["policy"] not in POLICIES)
    axes.axhspan(golden["low"], golden["high"], color="#dddddd", lw=0)
    axes.axhline(golden["gain"], color="#777777", lw=1, label="golden noise itself")
    styles = {"all": ("o", "#0b5cad"), "sample": ("s", "#a33f00")}
    labels = {"all": "every candidate judged", "sample": "5% judged, all others kept"}
    for policy, (marker, color) in styles.items():
        points = [row for row in rows if row["policy"] == policy]
        gains = [row["gain"] for row in points]
        errors = [
            [row["gain"] - row["low"] for row in points],
            [row["high"] - row["gain"] for row in points],
        ]
        axes.errorbar(
            [row["evaluations"] for row in points],
            gains,
            yerr=errors,
            marker=marker,
            color=color,
            capsize=3,
            label=labels[policy],
        )
    axes.set_xscale("log")
    axes.set_xlabel("network evaluations spent on the data set")
    axes.set_ylabel("gain of the trained network (oracle)")
    axes.axhline(0, color="black", lw=0.6)
    axes.grid(visible=True, axis="y", lw=0.3)
    axes.legend(loc="best", frameon=False)
    figure.savefig(path)


def _run(*arguments: str | Path) -> None:
    print("$", " ".join(map(str, arguments)), file=sys.stderr, flush=True)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    environment |= {"RAY_worker_niceness": "0"}  # as other processes have
    subprocess.run([sys.executable, *map(str, arguments)], check=True, env=environment)


if __name__ == "__main__":
    main()
