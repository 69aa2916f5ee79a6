"""Train the demo models from a seed: ``python -m jobs.train_demo_models --out FOLDER``.

The stages run in order: pictures, vae, decoder, diffusion, reward, evaluation. Each stage writes
its result to FOLDER, so the same command resumes an interrupted run. To ship the models, copy
``FOLDER/model`` and ``FOLDER/reward`` to ``pipeline/demo/``.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from time import monotonic
from typing import Annotated

import torch
import typer
from diffusers import AutoencoderKL, StableDiffusionPipeline
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from jobs.demo_models.data import Pictures, cached_pictures
from jobs.demo_models.diffusion import DiffusionModel, train_diffusion
from jobs.demo_models.evaluate import evaluate_models, evaluation_table
from jobs.demo_models.fit import DemoSettings, StageCallback
from jobs.demo_models.golden_noise import compare_settings, settings_table
from jobs.demo_models.reward import train_reward
from jobs.demo_models.vae import cached_latents, train_decoder, train_vae
from pipeline.cli.app import run
from pipeline.cli.arguments import LogFileOption, LogFormatOption
from pipeline.cli.console import console
from pipeline.cli.logs import logging_of, remark_log, report_progress
from pipeline.cli.outputs import check_output_folder
from pipeline.cli.progress import LINE_S
from pipeline.core.errors import UserError
from pipeline.storage.durable import atomic_write, whole_folder


def assemble(model: DiffusionModel, vae: AutoencoderKL) -> StableDiffusionPipeline:
    """Return a diffusers pipeline without safety checker and feature extractor."""
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=model.text_encoder,
        tokenizer=model.tokenizer,
        unet=model.unet,
        scheduler=model.scheduler,
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def save_half(pipe: StableDiffusionPipeline, folder: Path) -> None:
    """Write the folder with float16 weights and convert the pipeline back to float32.

    Its weights then equal those of the files, so the evaluated weights are the shipped ones.
    """
    parts = (pipe.unet, pipe.text_encoder, pipe.vae)
    for part in parts:
        part.half()
    with whole_folder(folder) as unfinished:
        pipe.save_pretrained(unfinished, safe_serialization=True)
        _declare_float32(unfinished / "text_encoder" / "config.json")
    for part in parts:
        part.float()


def _declare_float32(path: Path) -> None:
    """Make transformers load the text encoder in float32, like diffusers the other networks.

    transformers uses the dtype of a configuration and diffusers ignores it. With float16 the
    folder would load in two precisions that do not work together.
    """
    config = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**config, "dtype": "float32"}, indent=2) + "\n", "utf-8")


def train_all(settings: DemoSettings, out: Path, seed: int, *, lines: bool = False) -> None:
    """Run every training stage whose result is not in ``out`` yet, with a progress bar.

    ``lines`` prints a line a minute in place of the bar, for logs. Raise ``UserError`` if the
    folder was started with other settings or another seed.
    """
    out.mkdir(parents=True, exist_ok=True)
    _claim(out / "recipe.json", json.dumps({"seed": seed, **asdict(settings)}, indent=1))
    pictures = cached_pictures(settings.pool_size, seed, out)
    with nullcontext(_Lines()) if lines else _bars() as report:
        train_model(pictures, settings, out, seed, report)
        train_reward(pictures, settings.reward, folder=out, seed=seed, report=report)


def train_model(
    pictures: Pictures, settings: DemoSettings, out: Path, seed: int, report: StageCallback
) -> None:
    """Train the autoencoder and the diffusion model, and write the folder ``out/model``."""
    vae = train_vae(pictures, settings.vae, folder=out, seed=seed, report=report)
    # The next stage trains only the decoder, so these latents stay valid.
    latents = cached_latents(vae, pictures, out)
    train_decoder(vae, pictures, settings.decoder, folder=out, seed=seed, report=report)
    model = train_diffusion(
        latents, pictures.scenes, settings.diffusion, folder=out, seed=seed, report=report
    )
    save_half(assemble(model, vae), out / "model")


def main(
    out: Annotated[Path, typer.Option(help="Folder for checkpoints and finished models.")],
    seed: Annotated[int, typer.Option(help="Seed of the training.")] = 0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Run a smoke test that takes seconds.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--settings", help="Also measure golden noise; takes minutes longer.")
    ] = False,
    log_format: LogFormatOption = "text",
    log_file: LogFileOption = None,
) -> None:
    """Train the demo models and print their evaluation."""
    # Two threads on a busy two-core machine were 2.7 times slower than one.
    torch.set_num_threads(1)
    check_output_folder(out)
    settings = DemoSettings().quick() if quick else DemoSettings()
    with logging_of("train_demo_models", log_format, log_file) as log:
        remark_log(log)
        train_all(settings, out, seed, lines=log_format == "json" or not console.is_terminal)
        model, reward, count = out / "model", out / "reward", settings.evaluation_size
        Console().print(evaluation_table(evaluate_models(model, reward, count, seed)))
        if compare:
            Console().print(settings_table(compare_settings(model, reward, count), count))


def _claim(path: Path, described: str) -> None:
    """Record the settings and the seed of a new folder, or check those of an existing one."""
    if not path.exists():
        atomic_write(path, [described.encode()])
    elif path.read_text("utf-8") != described:
        raise UserError(
            f"{path} has another seed or other settings; choose another folder for --out"
        )


@contextmanager
def _bars() -> Iterator[StageCallback]:
    """Show one progress bar per stage, from its first step."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, step: int, steps: int, loss: float) -> None:
            if stage not in tasks:
                tasks[stage] = progress.add_task(stage, total=steps, loss=loss)
            progress.update(tasks[stage], completed=step, loss=loss)

        yield report


class _Lines:
    """Prints a line at the end of a stage, and every minute."""

    def __init__(self) -> None:
        self._printed = monotonic()

    def __call__(self, stage: str, step: int, steps: int, loss: float) -> None:
        if step == steps or monotonic() - self._printed > LINE_S:
            self._printed = monotonic()
            report_progress(f"{stage}: step {step:,} of {steps:,}, loss {loss:.4f}")


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(main)
    run(app)
