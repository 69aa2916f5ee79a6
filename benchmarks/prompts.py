"""Measure the planning of 100,000 prompts with every filter on, and of each of its steps.

    python -m benchmarks.prompts [--repeats 3] [--prompts 100000]

The prompts are composed from typical parts (subject, place, activity, and fashionable words at the
end). A tenth are near-duplicates and a twentieth are duplicates. Half are Parquet, half JSONL.
Near-duplicates, token limits, a block list and a sample are on. The tokenizer is of CLIP's kind,
made for such prompts. Each repeat runs in a new process that imports, chooses prompts and makes
the plan, like ``npd plan`` before it loads the model. Memory is the peak of that process. CPU
seconds matter where the machine has other load.
Goal: 100,000 prompts in less than 30 s and 1 GB.
"""

import argparse
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

GOAL_SECONDS, GOAL_BYTES = 30.0, 1e9
MAX_TOKENS, VOCABULARY, TRAINED_ON = 77, 16_384, 20_000

_SUBJECTS = ["astronaut", "fox", "lighthouse", "dragon", "violinist", "castle", "robot", "tiger"]
_ADJECTIVES = ["red", "ancient", "tiny", "glowing", "wooden", "sleepy", "golden", "huge", "quiet"]
_PLACES = ["a forest", "the desert", "a market in Lisbon", "space", "a snowy street", "an attic"]
_DOING = ["reading a book", "dancing", "made of glass", "in the rain", "at dawn", "being repaired"]
_STYLES = ["oil painting", "35mm photograph", "watercolour", "pixel art", "ink drawing", "render"]
_TAILS = ["highly detailed", "trending on artstation", "8k", "soft light", "bokeh", "cinematic"]
_BLOCKED = ["gore", "very bad phrase"]


_CONFIG = """
[prompts]
block_list = "blocked.txt"
near_duplicates = 0.85
too_long = "drop"
sample = {sample}
seeds_per_prompt = 4

[[prompts.sources]]
name = "captions"
path = "half.parquet"
column = "caption"

[[prompts.sources]]
name = "texts"
path = "half.jsonl"
column = "text"

[model]
path = "model"
name = "demo"

[sampling]
num_inference_steps = 20
guidance_scale = 1.0

[redenoise]
num_inference_steps = 20
guidance_scale = 3.0

[[rewards]]
name = "scene"
kind = "scene"
path = "{demo}/reward"
"""


def made_up_prompts(count: int, seed: int) -> list[str]:
    """Return prompts as described above. Each contains a name, so that most are distinct."""
    draw = random.Random(seed)
    prompts: list[str] = []
    while len(prompts) < count:
        kind = draw.random()
        if prompts and kind < 0.05:
            prompts.append(draw.choice(prompts))
        elif prompts and kind < 0.15:
            prompts.append(_nearly(draw, draw.choice(prompts)))
        else:
            prompts.append(_fresh(draw))
    return prompts


def _fresh(draw: random.Random) -> str:
    subjects = [f"{draw.choice(_ADJECTIVES)} {draw.choice(_SUBJECTS)}" for _ in range(2)]
    name = "".join(draw.choice("aeioubdklmnrst") for _ in range(draw.randint(5, 9)))
    parts = [
        f"a {subjects[0]} called {name} and a {subjects[1]} {draw.choice(_DOING)}",
        f"in {draw.choice(_PLACES)}",
        draw.choice(_STYLES),
        *draw.sample(_TAILS, draw.randint(0, 5)),
    ]
    return ", ".join(parts)


def _nearly(draw: random.Random, prompt: str) -> str:
    at = draw.randrange(len(prompt))
    return draw.choice([prompt + ", 4k", prompt.upper(), prompt[:at] + prompt[at + 1 :]])


def write_work(folder: Path, count: int) -> Path:
    """Write prompts, block list and configuration. Return the path of the configuration."""
    half = count // 2
    prompts = made_up_prompts(count, seed=0)
    pq.write_table(pa.table({"caption": prompts[:half]}), folder / "half.parquet")
    with (folder / "half.jsonl").open("w") as file:
        file.writelines(json.dumps({"text": prompt}) + "\n" for prompt in prompts[half:])
    (folder / "blocked.txt").write_text("\n".join(_BLOCKED) + "\n")
    demo = Path(__file__).parents[1] / "pipeline" / "demo"
    shutil.copytree(demo / "model", folder / "model")
    _train_tokenizer(folder / "model" / "tokenizer", prompts[:TRAINED_ON])
    config = folder / "build.toml"
    config.write_text(_CONFIG.format(demo=demo, sample=count // 2))
    return config


def _train_tokenizer(folder: Path, prompts: list[str]) -> None:
    """Make a tokenizer like the demo's for these prompts, with as many positions as CLIP's."""
    from transformers import AutoTokenizer

    made = AutoTokenizer.from_pretrained(folder).train_new_from_iterator(prompts, VOCABULARY)
    made.model_max_length = MAX_TOKENS
    made.save_pretrained(folder)


def plan_here(config: Path) -> dict[str, Any]:
    """Return seconds and CPU seconds of each step in this process, peak bytes, and the funnel."""
    steps: dict[str, tuple[float, float]] = {}
    clocks = (perf_counter(), process_time())

    def done(name: str) -> None:
        nonlocal clocks
        now = (perf_counter(), process_time())
        steps[name] = (now[0] - clocks[0], now[1] - clocks[1])
        clocks = now

    # Imported here, because a user also waits for imports.
    from pipeline.config.file import load_config
    from pipeline.models.resolved_models import ResolvedModels
    from pipeline.workflows.plan import plan_of, prompts_of

    done("import")
    settings = load_config(config)
    models = ResolvedModels(settings)
    chosen = prompts_of(settings, models)
    done("choose")
    plan_of(settings, models, chosen)
    done("plan")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    dropped = {reason.value: count for reason, count in chosen.funnel.dropped.items()}
    funnel = {"rows": chosen.funnel.rows, **dropped, "kept": chosen.funnel.kept}
    return {"steps": steps, "peak": peak, "funnel": funnel}


def plan_elsewhere(config: Path) -> dict[str, Any]:
    """Run ``plan_here`` in a new process."""
    ended = subprocess.run(
        [sys.executable, "-m", "benchmarks.prompts", "--plan", str(config)],
        stdout=subprocess.PIPE,
        check=True,
    )
    measured: dict[str, Any] = json.loads(ended.stdout)
    return measured


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prompts", type=int, default=100_000)
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plan:
        print(json.dumps(plan_here(options.plan)))
        return
    with tempfile.TemporaryDirectory(prefix="npd-prompts-") as work:
        config = write_work(Path(work), options.prompts)
        runs = []
        for number in range(options.repeats):
            runs.append(plan_elsewhere(config))
            seconds, cpu = map(sum, zip(*runs[-1]["steps"].values(), strict=True))
            print(f"run {number + 1}: {seconds:.1f} s, {cpu:.1f} s of CPU", flush=True)
    show(runs)


def show(runs: list[dict[str, Any]]) -> None:
    """Print the funnel, the medians and all figures of the steps, and the goal."""
    print(", ".join(f"{count} {name}" for name, count in runs[0]["funnel"].items()))
    for run in runs:
        times = list(run["steps"].values())
        run["steps"]["together"] = tuple(sum(column) for column in zip(*times, strict=True))
    print(f"{'':10} {'seconds':>8} {'CPU':>8}   all seconds, CPU")
    for name in runs[0]["steps"]:
        wall, cpu = zip(*(run["steps"][name] for run in runs), strict=True)
        each = "; ".join(f"{w:.1f}, {c:.1f}" for w, c in zip(wall, cpu, strict=True))
        print(f"{name:10} {median(wall):8.2f} {median(cpu):8.2f}   {each}")
    seconds = median(run["steps"]["together"][0] for run in runs)
    peak = median(run["peak"] for run in runs)
    met = seconds < GOAL_SECONDS and peak < GOAL_BYTES
    print(
        f"{seconds:.1f} s and {peak / 1e9:.2f} GB, goal less than {GOAL_SECONDS:.0f} s and "
        f"{GOAL_BYTES / 1e9:.0f} GB: {'met' if met else 'MISSED'}"
    )


if __name__ == "__main__":
    main()
