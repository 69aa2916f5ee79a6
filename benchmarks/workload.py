"""The workload of the benchmarks: the demo's models and settings, in units of about a second."""

import os

# Set before anything imports torch or transformers, and before Ray starts.
os.environ.update(
    {
        # As in a worker, to which Ray gives one thread.
        "OMP_NUM_THREADS": "1",
        # Ray lowers the priority of its workers (15). Compared with a plain loop in this process,
        # on a machine with other load, this would be most of the difference.
        "RAY_worker_niceness": "0",
        "TRANSFORMERS_VERBOSITY": "error",
    }
)
# Start a local Ray, even if the shell points to a cluster.
os.environ.pop("RAY_ADDRESS", None)

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ray

from pipeline.cluster.actor import spawn_worker
from pipeline.cluster.driver import Driver
from pipeline.cluster.messages import Work
from pipeline.config.file import load_config
from pipeline.config.sections import ClusterConfig, Config
from pipeline.monitor.unit_summary import UnitSummary
from pipeline.storage.open import open_store
from pipeline.workflows.build import BuildContext, open_build


def read_options(description: str, *, repeats: int, units: int) -> argparse.Namespace:
    """Return the command-line options: ``repeats``, ``units``, ``unit_size``."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--repeats", type=int, default=repeats)
    parser.add_argument("--units", type=int, default=units, help="units in a repeat")
    parser.add_argument("--unit-size", type=int, default=8, help="candidates in a unit")
    return parser.parse_args()


def demo_config(*, units: int, unit_size: int, num_inference_steps: int = 20) -> Config:
    """Return the demo's configuration, cut to ``units`` units of one batch each.

    There are enough seeds per prompt for that many units of ``unit_size`` candidates.
    """
    demo = load_config("demo")
    assert demo.prompts.path is not None and demo.redenoise is not None, "the demo has both"
    prompts = len(Path(demo.prompts.path).read_text().splitlines())
    steps = {"num_inference_steps": num_inference_steps}
    return demo.model_copy(
        update={
            "prompts": demo.prompts.model_copy(
                update={"seeds_per_prompt": -(-units * unit_size // prompts)}
            ),
            "sampling": demo.sampling.model_copy(update=steps),
            "redenoise": demo.redenoise.model_copy(
                update=steps | {"num_steps": num_inference_steps // 2}
            ),
            "units": demo.units.model_copy(update={"size": unit_size, "batch_size": unit_size}),
        }
    )


def open_in(folder: Path, config: Config) -> BuildContext:
    """Prepare a build that has not computed anything yet, in a new folder."""
    return open_build(open_store(str(folder)), config)


def warm_workers(opened: BuildContext, count: int) -> list[Any]:
    """Start workers that have loaded their models and computed the unit of their number."""
    workers = [
        spawn_worker(opened.store.url, opened.plan.plan_id, opened.config) for _ in range(count)
    ]
    ray.get([worker.set_up.remote() for worker in workers])
    ray.get([worker.run.remote(Work(unit=unit)) for unit, worker in enumerate(workers)])
    return workers


def drive(workers: list[Any], units: range) -> Iterator[UnitSummary]:
    """Run the compute phase of a build on existing workers, and stop them."""
    waiting = iter(workers)
    config = ClusterConfig(workers=len(workers))
    return Driver(lambda: next(waiting), config, unit_size=lambda unit: 1).run(units)
