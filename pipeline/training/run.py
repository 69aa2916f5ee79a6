"""A whole training run, from a sealed data set to a folder that ``NPNet.load`` reads.

The same command again goes on from the last checkpoint, and is done at once if all is done.
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

from pipeline.errors import ModelError, UserError
from pipeline.identity import readable_json
from pipeline.models.model_identity import refuse_other_model
from pipeline.npnet.config import Layout, layout_for
from pipeline.npnet.network import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.npnet.origin import ModelIdentity, Origin
from pipeline.storage.durable import atomic_write
from pipeline.training.checkpoint import refuse_other_run
from pipeline.training.data import (
    EveryPair,
    Noises,
    PairStream,
    PromptEncoder,
    latents_in,
    refuse_pairs_of_other_model,
    sealed_plans,
    training_data,
)
from pipeline.training.fit import StepCallback, Training
from pipeline.training.settings import TrainingSettings
from pipeline.training.variance import residual_std, squares

SUMMARY_FILE = "training.json"

_STD_BATCHES = 64
"""Batches of pairs from which the residual's standard deviation is estimated."""


@dataclass(frozen=True, kw_only=True)
class NewNetwork:
    """Start from random weights."""

    kind: Literal["small", "two_branch"]
    width: int
    dropout: float = 0.0


@dataclass(frozen=True, kw_only=True)
class PretrainedNetwork:
    """Start from the weights of another run: fine-tuning."""

    folder: Path


def train(
    url: str,
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
    """Train on the data set at ``url`` and write network, loss curve and summary to ``out``.

    ``encode`` is the text encoder of ``model``, which made the pairs. ``allow_other_model`` also
    takes pairs, or a network to start from, of another one.

    Returns the summary. Raises ``UserError`` for a data set without enough pairs and for an ``out``
    that holds another run, and ``ModelError`` for a network or pairs of another model.
    """
    begin = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    plans = sealed_plans(url)
    if not allow_other_model:
        refuse_pairs_of_other_model(url, plans, model)
    pairs = PairStream(
        url,
        split="train",
        batch_size=settings.batch_size,
        seed=settings.seed,
        min_gain=settings.min_gain,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    training_pairs = EveryPair(url, "train", settings.batch_size)
    validation_pairs = EveryPair(url, "validation", settings.batch_size)
    if sealed_plans(url) != plans:
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
        """Every process takes a part of the validation pairs."""
        rank, processes = accelerator.process_index, accelerator.num_processes
        part = islice(validation_pairs, rank, None, processes)
        sums = squares(average, part, encode).to(accelerator.device)
        normalized_mse, total = accelerator.reduce(sums, "sum").tolist()
        return float(1 - normalized_mse / total) if total else None

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
    """The network that training starts from. Raises ``ModelError`` if it does not fit the pairs."""
    npnet = NPNet.load(start.folder)
    if not origin.allow_other_model:
        remedy = "give --allow-other-model"
        refuse_other_model(start.folder, npnet.origin, origin.model, remedy)
    latents, picture = noises
    if (npnet.layout.latents, npnet.layout.latent_shape) != noises:
        shape = picture if latents is None else latents.noise_shape(picture)
        raise ModelError(
            f"{start.folder}: this network was trained on noises {npnet.layout.noise_shape}, "
            f"pictures {npnet.layout.latent_shape}; the data's are {shape}, pictures {picture}: "
            "start from a network for noises of this shape"
        )
    npnet(torch.zeros(1, *npnet.layout.noise_shape), encode([""]).cpu())  # refuses other prompts
    return npnet.train().requires_grad_(True)


def _identity(layout: Layout, origin: Origin, num_pairs: int) -> dict[str, Any]:
    """What makes a run this one and no other."""
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
    """The summary of a run that is done. Raises ``UserError`` if it is another one.

    A run whose network is missing or damaged is not done.
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
    # Earlier versions did not record it.
    return summary if summary.get("network", found) == found else None
