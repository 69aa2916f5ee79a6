"""A whole training run, from a sealed data set to a folder that ``NPNet.load`` reads.

The same command again goes on from the last checkpoint, and is done at once if all is done.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import torch
from accelerate import Accelerator

from pipeline.errors import UserError
from pipeline.identity import readable_json
from pipeline.models.denoiser import Denoiser
from pipeline.npnet.config import Layout
from pipeline.npnet.layouts import layout_for
from pipeline.npnet.network import NPNet
from pipeline.npnet.network_files import network_digest
from pipeline.npnet.training.checkpoint import refuse_other_run
from pipeline.npnet.training.fit import Report, Training
from pipeline.npnet.training.pairs import PairStream, every_pair
from pipeline.npnet.training.prompts import PromptEncoder
from pipeline.npnet.training.settings import TrainingSettings
from pipeline.npnet.training.variance import residual_std, squares
from pipeline.storage.durable import write_whole

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
class TrainedNetwork:
    """Start from the weights of another run: fine-tuning."""

    folder: Path


def train(
    url: str,
    denoiser: Denoiser,
    start: NewNetwork | TrainedNetwork,
    settings: TrainingSettings,
    out: Path,
    accelerator: Accelerator,
    *,
    checkpoint_every: int,
    report: Report,
) -> Mapping[str, Any]:
    """Train on the data set at ``url`` and write network, loss curve and summary to ``out``.

    Gives the summary. Raises ``UserError`` for a data set without enough pairs and for an ``out``
    that holds another run, and ``ModelError`` for a network that does not fit the pairs.
    """
    begin = perf_counter()
    out.mkdir(parents=True, exist_ok=True)
    pairs = PairStream(
        url,
        split="train",
        batch_size=settings.batch_size,
        seed=settings.seed,
        min_gain=settings.min_gain,
        rank=accelerator.process_index,
        world_size=accelerator.num_processes,
    )
    encode = PromptEncoder(denoiser)
    npnet = _network(start, url, encode, settings)
    run = _identity(npnet.layout, start, settings, len(pairs))
    done = _done(out, run)
    if done is not None:
        return done

    def validate(average: NPNet) -> float | None:
        """Every process takes a part of the validation pairs."""
        batches = every_pair(url, "validation", settings.batch_size)
        rank, processes = accelerator.process_index, accelerator.num_processes
        part = islice(batches, rank, None, processes)
        sums = squares(average, part, encode).to(accelerator.device)
        unexplained, total = accelerator.reduce(sums, "sum").tolist()
        return float(1 - unexplained / total) if total else None

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
        write_whole(out / SUMMARY_FILE, [readable_json(summary)])
    accelerator.wait_for_everyone()
    return summary


def _network(
    start: NewNetwork | TrainedNetwork, url: str, encode: PromptEncoder, settings: TrainingSettings
) -> NPNet:
    """The network before its first step."""
    first = next(every_pair(url, "train", 1))
    latent_shape = first.source_noise.shape[1:]
    if isinstance(start, TrainedNetwork):
        npnet = NPNet.load(start.folder)
        npnet(first.source_noise, encode(first.prompts).cpu())  # refuses what does not fit
        return npnet.train().requires_grad_(True)
    if len(latent_shape) != 3:
        raise UserError(f"{url}: its latents are {tuple(latent_shape)}; (C, H, W) are needed")
    channels, height, width = latent_shape
    latents = (channels, height, width)
    layout = layout_for(start.kind, latents, encode.shape, start.width, start.dropout)
    npnet = NPNet.new(layout, settings.seed)
    some = islice(every_pair(url, "train", settings.batch_size), _STD_BATCHES)
    npnet.residual_std.copy_(residual_std(some))
    return npnet


def _identity(
    layout: Layout, start: NewNetwork | TrainedNetwork, settings: TrainingSettings, num_pairs: int
) -> dict[str, Any]:
    """What makes a run this one and no other."""
    from_network = network_digest(start.folder) if isinstance(start, TrainedNetwork) else None
    return {
        "layout": layout.model_dump(mode="json"),
        "init": from_network,
        "settings": settings.model_dump(mode="json"),
        "pairs": num_pairs,
    }


def _done(out: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The summary of a run that is done. Raises ``UserError`` if it is another one."""
    path = out / SUMMARY_FILE
    if not path.is_file():
        return None
    summary: dict[str, Any] = json.loads(path.read_bytes())
    refuse_other_run(path, summary["run"], run)
    return summary
