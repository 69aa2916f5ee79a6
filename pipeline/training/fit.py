"""Training loop of a noise prompt network: AdamW on the normalised squared error.

On the CPU, a run that is killed and started again ends in the same bytes as an undisturbed one: a
step depends on the checkpoint, the settings and the pairs, not on the history of a generator.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from pipeline.npnet.network import NPNet
from pipeline.storage.durable import atomic_write
from pipeline.training.average import running_average
from pipeline.training.checkpoint import Stateful, load_checkpoint, save_checkpoint
from pipeline.training.data import PairBatch, PairStream, PromptEncoder
from pipeline.training.settings import TrainingSettings

CHECKPOINT_FILE, CURVE_FILE = "checkpoint.pt", "loss.jsonl"

LOG_EVERY = 20
"""Number of steps between two points of the loss curve."""

StepCallback = Callable[[int, float], None]
"""Callback that receives (number of finished steps, loss) at every point of the loss curve."""


class LossCurve:
    """Loss curve of a run, stored as one line of JSON per point.

    A point has ``step``, ``loss`` (mean since the previous point), ``learning_rate`` and, at a
    checkpoint, ``variance_explained`` on the validation pairs.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._points: list[dict[str, Any]] = []
        # A run that was killed before its first checkpoint starts over.
        path.unlink(missing_ok=True)

    def add(self, point: dict[str, Any]) -> None:
        """Append a point."""
        self._points.append(point)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")

    def state_dict(self) -> dict[str, Any]:
        """Return all points."""
        return {"points": self._points}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Replace all points, also in the file: a killed run may have written later ones."""
        self._points = list(state["points"])
        lines = "".join(json.dumps(point) + "\n" for point in self._points)
        atomic_write(self._path, [lines.encode()])


class Training:
    """A training run in ``folder``, resumed if the folder has a checkpoint.

    ``run`` identifies the run. A checkpoint with another identity is rejected.
    """

    def __init__(
        self,
        npnet: NPNet,
        pairs: PairStream,
        encode: PromptEncoder,
        settings: TrainingSettings,
        accelerator: Accelerator,
        *,
        folder: Path,
        run: Mapping[str, Any],
    ) -> None:
        self._pairs, self._encode, self._settings = pairs, encode, settings
        self._accelerator, self._run = accelerator, run
        self._checkpoint = folder / CHECKPOINT_FILE
        self._average = running_average(npnet, settings.ema_decay, accelerator.device)
        optimizer = torch.optim.AdamW(
            npnet.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        # accelerate does not prepare the schedule: it would advance it once per process, and not
        # after a step that fp16 skips, but the rate is a function of the step alone.
        self._schedule = LambdaLR(optimizer, settings.learning_rate_factor)
        self._npnet, self._optimizer = accelerator.prepare(npnet, optimizer)
        self._curve = LossCurve(folder / CURVE_FILE) if accelerator.is_main_process else None
        load_checkpoint(self._checkpoint, run, self._parts())
        # A tracker hides what a killed run has logged after its checkpoint.
        resumed = {"purge_step": self.step + 1}
        accelerator.init_trackers("tensorboard", init_kwargs={"tensorboard": resumed})

    @property
    def average(self) -> NPNet:
        """The network with averaged weights."""
        average = self._average.module
        assert isinstance(average, NPNet)
        return average

    @property
    def step(self) -> int:
        """Number of finished steps."""
        return int(self._schedule.last_epoch)

    def fit(
        self,
        validate: Callable[[NPNet], float | None],
        checkpoint_every: int,
        report: StepCallback,
    ) -> float | None:
        """Run the remaining steps, and return the last result of ``validate`` on the average.

        The average is measured and a checkpoint is saved every ``checkpoint_every`` steps.
        """
        settings = self._settings
        losses: list[Tensor] = []
        # A run that was killed after its last checkpoint has no step left that would measure.
        explained = validate(self.average) if self.step == settings.steps else None
        for batch in islice(self._pairs, settings.steps - self.step):
            losses.append(self._take_step(batch))
            is_last = self.step == settings.steps
            is_checkpoint = is_last or self.step % checkpoint_every == 0
            if is_checkpoint:
                explained = validate(self.average)
            if is_checkpoint or self.step % LOG_EVERY == 0:
                loss = self._mean(losses)
                losses = []
                self._log(loss, explained if is_checkpoint else None)
                report(self.step, loss)
            if is_checkpoint and self._accelerator.is_main_process:
                save_checkpoint(self._checkpoint, self._run, self._parts())
        return explained

    def _take_step(self, batch: PairBatch) -> Tensor:
        accelerator = self._accelerator
        prompt_embeds = self._encode(batch.prompts).to(accelerator.device)
        with self._seeded():
            loss = normalized_mse(
                self._npnet,
                batch.source_noise.to(accelerator.device),
                batch.golden_noise.to(accelerator.device),
                prompt_embeds,
                self.average.residual_std,
            )
        self._optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self._npnet.parameters(), self._settings.max_grad_norm)
        self._optimizer.step()
        self._schedule.step()
        self._average.update_parameters(self._unwrapped())
        return loss.detach()

    @contextmanager
    def _seeded(self) -> Iterator[None]:
        """Seed the random numbers of dropout by seed, step and process alone."""
        accelerator = self._accelerator
        devices = [accelerator.device] if accelerator.device.type == "cuda" else []
        step = self._settings.seed * self._settings.steps + self.step
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(step * accelerator.num_processes + accelerator.process_index)
            yield

    def _mean(self, losses: list[Tensor]) -> float:
        """Return the mean loss of some steps over all processes."""
        return float(self._accelerator.reduce(torch.stack(losses).mean(), "mean"))

    def _log(self, loss: float, explained: float | None) -> None:
        settings = self._settings
        rate = settings.learning_rate * settings.learning_rate_factor(self.step - 1)
        values = {"loss": loss, "learning_rate": rate}
        if explained is not None:
            values["variance_explained"] = explained
        if self._curve is not None:
            self._curve.add({"step": self.step, **values})
        self._accelerator.log(values, step=self.step)

    def _parts(self) -> dict[str, Stateful]:
        parts: dict[str, Stateful] = {
            "network": self._unwrapped(),
            "average": self._average,
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "pairs": self._pairs,
        }
        if self._curve is not None:
            parts["curve"] = self._curve
        if self._accelerator.scaler is not None:
            parts["scaler"] = self._accelerator.scaler
        return parts

    def _unwrapped(self) -> nn.Module:
        """Return the network without accelerate's wrapper."""
        network: nn.Module = self._accelerator.unwrap_model(self._npnet)
        return network


def normalized_mse(
    npnet: nn.Module, source: Tensor, golden: Tensor, prompt_embeds: Tensor, residual_std: Tensor
) -> Tensor:
    """Return the mean squared error to the golden noise in units of the residual's variance, ().

    It is 1 for a network that returns its input, and 0 for a perfect one.
    """
    error: Tensor = (npnet(source, prompt_embeds) - golden) / residual_std
    return error.square().mean()


def variance_explained(npnet: NPNet, batches: Iterable[PairBatch], encode: PromptEncoder) -> float:
    """Return the share of the residual golden − source that a network explains.

    1 − Σ‖golden − predicted‖² / Σ‖golden − source‖²: 0 for the unchanged noise, 1 for the golden
    noise. It ranks networks as the gain in reward does, without sampling an image.
    """
    error, total = squared_errors(npnet, batches, encode).tolist()
    return float(1 - error / total)


@torch.no_grad()
def squared_errors(npnet: NPNet, batches: Iterable[PairBatch], encode: PromptEncoder) -> Tensor:
    """Return (Σ‖golden − predicted‖², Σ‖golden − source‖²), float64 on the CPU."""
    device = npnet.residual_std.device
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        source, golden = batch.source_noise.to(device), batch.golden_noise.to(device)
        predicted = npnet(source, encode(batch.prompts).to(device))
        sums[0] += (golden - predicted).double().square().sum().cpu()
        sums[1] += (golden - source).double().square().sum().cpu()
    return sums


def residual_std(batches: Iterable[PairBatch]) -> Tensor:
    """Return the root mean square of golden − source over all values, float32 ()."""
    squared = torch.zeros((), dtype=torch.float64)
    count = 0
    for batch in batches:
        residual = (batch.golden_noise - batch.source_noise).double()
        squared += residual.square().sum()
        count += residual.numel()
    return (squared / count).sqrt().float()
