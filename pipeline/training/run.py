"""Training run, from a sealed data set to a folder that ``NPNet.load`` reads.

The same call resumes an interrupted run from its last checkpoint. A finished run is not repeated.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from accelerate import Accelerator

from pipeline.core.errors import ModelError, UserError
from pipeline.core.identity import readable_json
from pipeline.models.model_identity import refuse_other_model
from pipeline.npnet.config import Layout, layout_for
from pipeline.npnet.network import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.npnet.origin import ModelIdentity, Origin
from pipeline.reader import Source
from pipeline.storage.durable import atomic_write
from pipeline.training.checkpoint import refuse_other_run
from pipeline.training.data import (
    EveryPair,
    Noises,
    PairStream,
    PromptEncoder,
    latents_in,
    read_plans,
    refuse_pairs_of_other_model,
    training_data,
)
from pipeline.training.fit import StepCallback, Training, residual_std, squared_errors
from pipeline.training.record import SUMMARY_FILE
from pipeline.training.settings import TrainingSettings

_STD_BATCHES = 64
"""Number of batches from which the standard deviation of the residual is estimated."""


@dataclass(frozen=True, kw_only=True)
class NewNetwork:
    """Start from random weights."""

    kind: Literal["small", "two_branch"]
    width: int
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PretrainedNetwork:
    """Start from the weights of another run, for fine-tuning."""

    folder: Path


def train(
    source: Source,
    encode: PromptEncoder,
    model: ModelIdentity,
    start: NewNetwork | PretrainedNetwork,
    settings: TrainingSettings,
    out: Path,
    accelerator: Accelerator,
    *,
    checkpoint_every: int,
    report: StepCallback,
    allow_other_model: bool = False,
) -> Mapping[str, Any]:
    """Train on a data set, and write network, loss curve and summary to ``out``.

    ``encode`` is the text encoder of ``model``, which made the pairs. ``allow_other_model`` also
    accepts pairs, or a network to start from, of another model.

    Returns the summary. Raises ``UserError`` for a data set without enough pairs and for an ``out``
    that holds another run, and ``ModelError`` for a network or pairs of another model.
    """
    begin = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    url, plans = source.url, read_plans(source)
    if not allow_other_model:
        refuse_pairs_of_other_model(url, plans, model)
    pairs = PairStream(
        source,
        split="train",
        batch_size=settings.batch_size,
        seed=settings.seed,
        min_gain=settings.min_gain,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    training_pairs = EveryPair(source, "train", settings.batch_size)
    validation_pairs = EveryPair(source, "validation", settings.batch_size)
    # The data sets above read the current manifests themselves, and a new version may be sealed
    # between any two reads. The record of the training data must be that of the pairs.
    if read_plans(source) != plans:
        raise UserError(f"{url}: another version was sealed meanwhile; run the same command again")
    origin = Origin(
        project_version=version("noise-prompt-dataset"),
        model=model,
        allow_other_model=allow_other_model,
        data=training_data(plans),
        init=network_digest(start.folder) if isinstance(start, PretrainedNetwork) else None,
        settings=settings.model_dump(mode="json"),
    )
    noises = latents_in(url, plans)
    if isinstance(start, PretrainedNetwork):
        npnet = _trained_network(start, origin, noises, encode)
    else:
        npnet = _new_network(start, noises, encode, settings, training_pairs)
    npnet.origin = origin
    run = _identity(npnet.layout, origin, len(pairs))
    done = _done(out, run)
    if done is not None:
        return done

    def validate(average: NPNet) -> float | None:
        """Measure the variance explained; every process measures a part of the batches."""
        rank, processes = accelerator.process_index, accelerator.num_processes
        part = islice(validation_pairs, rank, None, processes)
        sums = squared_errors(average, part, encode).to(accelerator.device)
        error, total = accelerator.reduce(sums, "sum").tolist()
        return float(1 - error / total) if total else None

    training = Training(npnet, pairs, encode, settings, accelerator, folder=out, run=run)
    explained = training.fit(validate, checkpoint_every, report)
    summary = {
        "run": run,
        "variance_explained": explained,
        "parameters": sum(p.numel() for p in training.average.parameters()),
        "processes": accelerator.num_processes,
        "device": accelerator.device.type,
        "torch": torch.__version__,
        "seconds": round(perf_counter() - begin, 1),
    }
    if accelerator.is_main_process:
        # The summary is written last: with it, the run counts as finished.
        training.average.save(out)
        summary["network"] = network_digest(out)
        atomic_write(out / SUMMARY_FILE, [readable_json(summary)])
    accelerator.wait_for_everyone()
    return summary


def _new_network(
    start: NewNetwork,
    noises: Noises,
    encode: PromptEncoder,
    settings: TrainingSettings,
    pairs: EveryPair,
) -> NPNet:
    latents, picture = noises
    layout = layout_for(start.kind, picture, encode.shape, start.width, start.dropout, latents)
    npnet = NPNet.new(layout, settings.seed)
    npnet.residual_std.copy_(residual_std(islice(pairs, _STD_BATCHES)))
    return npnet


def _trained_network(
    start: PretrainedNetwork, origin: Origin, noises: Noises, encode: PromptEncoder
) -> NPNet:
    """Load the network to start from. Raises ``ModelError`` if it does not fit the pairs."""
    npnet = NPNet.load(start.folder)
    if not origin.allow_other_model:
        remedy = "give --allow-other-model"
        refuse_other_model(start.folder, npnet.origin, origin.model, remedy)
    latents, picture = noises
    if (npnet.layout.latents, npnet.layout.latent_shape) != noises:
        shape = picture if latents is None else latents.noise_shape(picture)
        raise ModelError(
            f"{start.folder}: this network was trained on noises {npnet.layout.noise_shape}, "
            f"pictures {npnet.layout.latent_shape}; the data's are {shape}, pictures {picture}; "
            "start from a network for noises of this shape"
        )
    npnet(
        torch.zeros(1, *npnet.layout.noise_shape), encode([""]).cpu()
    )  # raises for other prompt shapes
    return npnet.train().requires_grad_(True)


def _identity(layout: Layout, origin: Origin, num_pairs: int) -> dict[str, Any]:
    """Return the identity of a run: all that decides its weights."""
    return {
        "layout": layout.model_dump(mode="json", exclude_none=True),
        "init": origin.init,
        "settings": origin.settings,
        "pairs": num_pairs,
        "model": origin.model.digest,
        "text_encoder": origin.model.text_encoder,
        "data": [data.model_dump(mode="json") for data in origin.data],
    }


def _done(out: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the summary of a finished run, or None. Raises ``UserError`` for another run.

    A run whose network is missing or damaged is not finished.
    """
    path = out / SUMMARY_FILE
    if not path.is_file():
        return None
    try:
        summary: dict[str, Any] = json.loads(path.read_bytes())
        stored = summary["run"]
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path} is damaged: {error}; remove it and run again") from error
    refuse_other_run(path, stored, run)
    try:
        found = network_digest(out)
    except ModelError:
        return None
    # Earlier versions did not record the network's digest.
    return summary if summary.get("network", found) == found else None
