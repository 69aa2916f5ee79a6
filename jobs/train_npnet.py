"""Train a noise prompt network: ``python -m jobs.train_npnet --data URL --config C --out F``.

For several GPUs or machines use ``accelerate launch -m jobs.train_npnet …`` or ``torchrun``. The
same command resumes from the last checkpoint.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from accelerate import Accelerator
from accelerate.utils import is_tensorboard_available

from pipeline.cli.app import run
from pipeline.cli.arguments import (
    LogFileOption,
    LogFormatOption,
    UnsignedOption,
    VersionOption,
)
from pipeline.cli.logs import logging_of, remark, remark_log, report_progress
from pipeline.cli.outputs import check_output_folder
from pipeline.config.file import load_config
from pipeline.core.determinism import be_deterministic
from pipeline.core.errors import UserError
from pipeline.core.log_records import LogFormat
from pipeline.models.diffusers.resolved_model import ResolvedModel, resolve_model
from pipeline.models.load import load_text_encoder
from pipeline.models.model_identity import identity_of, model_in_folder
from pipeline.reader import Source
from pipeline.training.data import PromptEncoder, read_plans
from pipeline.training.run import NewNetwork, PretrainedNetwork, train
from pipeline.training.settings import Precision, TrainingSettings

_PRECISION = {"fp32": "no", "bf16": "bf16", "fp16": "fp16"}
_DEFAULTS = TrainingSettings()


def job(
    data: Annotated[str, typer.Option(help="A sealed data set: s3://, file:// or a path.")],
    out: Annotated[Path, typer.Option(help="Folder for the network, loss curve and checkpoint.")],
    version: VersionOption = None,
    unsigned: UnsignedOption = False,
    config: Annotated[
        str | None,
        typer.Option(
            help="Configuration of the build, a file or a name. Its model section is used."
        ),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="Instead of --config: folder of the model that made the pairs."),
    ] = None,
    allow_other_model: Annotated[
        bool,
        typer.Option(
            "--allow-other-model", help="Train for a model other than that of the data set."
        ),
    ] = False,
    layout: Annotated[
        Literal["small", "two_branch"], typer.Option(help="Network layout.")
    ] = "small",
    width: Annotated[int, typer.Option(min=8, help="Channels of the small layout.")] = 64,
    dropout: Annotated[float, typer.Option(help="Dropout of the small layout.")] = 0.0,
    init: Annotated[
        Path | None, typer.Option(help="Start from this trained network; overrides --layout.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimiser steps.")] = _DEFAULTS.steps,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Pairs per step, over all processes.")
    ] = _DEFAULTS.batch_size,
    lr: Annotated[float, typer.Option(help="Peak learning rate.")] = _DEFAULTS.learning_rate,
    weight_decay: Annotated[
        float, typer.Option(help="Weight decay of AdamW.")
    ] = _DEFAULTS.weight_decay,
    min_gain: Annotated[
        list[str] | None,
        typer.Option(help="REWARD=GAIN: skip pairs with a smaller gain. May be repeated."),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="Precision of the activations.")] = "fp32",
    seed: Annotated[
        int, typer.Option(min=0, help="Seed of initial weights and order of pairs.")
    ] = 0,
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 200,
    tracker: Annotated[
        Literal["tensorboard"] | None,
        typer.Option(help="Also log the loss curve to this tracker, in a folder of --out."),
    ] = None,
    log_format: LogFormatOption = "text",
    log_file: LogFileOption = None,
) -> None:
    """Train a noise prompt network on the train split and measure it on the validation split."""
    check_output_folder(out)
    be_deterministic()
    on_cpu = not torch.cuda.is_available()
    if on_cpu and precision == "fp16":
        raise UserError("fp16 needs a GPU; on the CPU use fp32, which is also the fastest there")
    # accelerate leaves out a tracker that is not installed, without an error.
    if tracker is not None and not is_tensorboard_available():
        raise UserError(
            f"--tracker {tracker} needs a package: pip install 'noise-prompt-dataset[{tracker}]'"
        )
    accelerator = Accelerator(
        mixed_precision=_PRECISION[precision], cpu=on_cpu, log_with=tracker, project_dir=out
    )
    settings = TrainingSettings(
        steps=steps,
        batch_size=batch_size,
        learning_rate=lr,
        weight_decay=weight_decay,
        seed=seed,
        precision=precision,
        min_gain=dict(_gain(option) for option in min_gain or ()),
    )
    source = Source(data, version=version, unsigned=unsigned)
    diffusion = _model(source, config, model)
    # The pairs are already computed, so no other network of the diffusion model is loaded.
    text = load_text_encoder(diffusion, accelerator.device)
    with _logging(accelerator, log_format, log_file):
        summary = train(
            source,
            PromptEncoder(text.embed, text.device),
            identity_of(diffusion),
            NewNetwork(kind=layout, width=width, dropout=dropout)
            if init is None
            else PretrainedNetwork(folder=init),
            settings,
            out,
            accelerator,
            checkpoint_every=checkpoint_every,
            report=lambda step, loss: report_progress(f"step {step} of {steps}: loss {loss:.4f}"),
            allow_other_model=allow_other_model,
        )
        explained = summary["variance_explained"]
        measured = "no validation pairs" if explained is None else f"{explained:.1%} on validation"
        remark(f"{out}: {summary['parameters']:,} parameters, variance explained: {measured}")
        accelerator.end_training()


@contextmanager
def _logging(
    accelerator: Accelerator, log_format: LogFormat, log_file: Path | None
) -> Iterator[None]:
    """Log from the main process. The others log nothing."""
    if accelerator.is_main_process:
        with logging_of("train_npnet", log_format, log_file) as log:
            remark_log(log)
            yield
    else:
        yield


def _model(source: Source, config: str | None, folder: Path | None) -> ResolvedModel:
    """Return the model that encodes the prompts, from a configuration or a model folder."""
    if config is not None and folder is None:
        return resolve_model(load_config(config).model)
    if folder is not None and config is None:
        _, manifest = read_plans(source)[0]
        return model_in_folder(folder, manifest.plan.settings.model)
    raise UserError(
        "give the model whose text encoder is used: either --config with the configuration of the "
        "build, or --model with the folder of the model"
    )


def _gain(option: str) -> tuple[str, float]:
    """Parse ``scene=0.1`` to ("scene", 0.1)."""
    name, _, value = option.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise UserError(f"--min-gain {option}: write REWARD=GAIN, such as scene=0.0") from None


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(job)
    run(app)
