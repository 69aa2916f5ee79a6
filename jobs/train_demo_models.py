"""Train the demo models from a seed: ``python -m jobs.train_demo_models --out FOLDER``.

The stages run in order: pool, vae, decoder, diffusion, reward, evaluation. Each stage writes its
result to FOLDER, so the same command resumes an interrupted run. To ship the models, copy
``FOLDER/model`` and ``FOLDER/reward`` to ``pipeline/demo/``.
"""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from jobs.demo_models.diffusion import train_diffusion
from jobs.demo_models.evaluate import evaluate_models, evaluation_table
from jobs.demo_models.fit import Report
from jobs.demo_models.folder import assemble, save_half
from jobs.demo_models.pool import Pool, cached_pool
from jobs.demo_models.recipe import Recipe
from jobs.demo_models.reward import train_reward
from jobs.demo_models.settings import compare_settings, settings_table
from jobs.demo_models.vae import cached_latents, train_decoder, train_vae
from pipeline.errors import UserError
from pipeline.storage.durable import atomic_write


def train_all(recipe: Recipe, out: Path, seed: int) -> None:
    """Run every training stage whose result is not in ``out`` yet, with a progress bar.

    Raise ``UserError`` if the folder was started with another recipe or seed.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / "recipe.json", json.dumps({"seed": seed, **asdict(recipe)}, indent=1))
    pool = cached_pool(recipe.pool_size, seed, out)
    with _progress() as progress:
        report = _report_to(progress)
        train_model(pool, recipe, out, seed, report)
        train_reward(pool, recipe.reward, folder=out, seed=seed, report=report)


def train_model(pool: Pool, recipe: Recipe, out: Path, seed: int, report: Report) -> None:
    """Train the autoencoder and the diffusion model, and write the folder ``out/model``."""
    vae = train_vae(pool, recipe.vae, folder=out, seed=seed, report=report)
    latents = cached_latents(vae, pool, out)
    train_decoder(vae, pool, recipe.decoder, folder=out, seed=seed, report=report)
    model = train_diffusion(
        latents, pool.scenes, recipe.diffusion, folder=out, seed=seed, report=report
    )
    save_half(assemble(model, vae), out / "model")


def main(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and finished models.")],
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a smoke test that takes seconds.")
    ] = False,
    settings: Annotated[
        bool, typer.Option("--settings", help="Also measure golden noise; takes minutes longer.")
    ] = False,
) -> None:
    """Train the demo models and print their evaluation."""
    # Two threads on a busy two-core machine were 2.7 times slower than one.
    torch.set_num_threads(1)
    recipe = Recipe().quick() if quick else Recipe()
    train_all(recipe, out, seed)
    model, reward, count = out / "model", out / "reward", recipe.evaluation_size
    Console().print(evaluation_table(evaluate_models(model, reward, count, seed)))
    if settings:
        Console().print(settings_table(compare_settings(model, reward, count), count))


def _claim(path: Path, described: str) -> None:
    """Record the recipe and seed of a new folder, or check that an existing one has the same."""
    if not path.exists():
        atomic_write(path, [described.encode()])
    elif path.read_text("utf-8") != described:
        raise UserError(f"{path} has another seed or recipe; choose another folder for --out")


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )


def _report_to(progress: Progress) -> Report:
    """Return a report function that shows one progress bar per stage, from its first step."""
    tasks = {task.description: task.id for task in progress.tasks}

    def report(stage: str, step: int, steps: int, loss: float) -> None:
        if stage not in tasks:
            tasks[stage] = progress.add_task(stage, total=steps, loss=loss)
        progress.update(tasks[stage], completed=step, loss=loss)

    return report


if __name__ == "__main__":
    typer.run(main)
