"""The training loop: AdamW on the share of the residual that is not explained.

On the CPU, a run that is killed and started again ends in the same bits as one that was not: a step
depends on the checkpoint, the settings and the pairs, and on no generator's history.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pipeline.npnet.network import NPNet
from pipeline.training.checkpoint import read_checkpoint, write_checkpoint
from pipeline.training.curve import LossCurve
from pipeline.training.data import PairBatch, PairStream, PromptEncoder
from pipeline.training.settings import TrainingSettings

LOG_EVERY = 20
"""Steps between two points of the loss curve."""

StepCallback = Callable[[int, float], None]
"""Told (steps done, loss) after every point of the curve."""


class Training:
    """A run in ``folder``; ``run`` identifies it, so that no other one's checkpoint is taken."""

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
        self._accelerator, self._folder, self._run = accelerator, folder, run
        self.average = copy.deepcopy(npnet).to(accelerator.device).requires_grad_(False).eval()
        optimizer = torch.optim.AdamW(
            npnet.parameters(),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
        )
        self._npnet, self._optimizer = accelerator.prepare(npnet, optimizer)
        self._step = 0
        points = self._resume()
        self._curve = LossCurve(folder, points) if accelerator.is_main_process else None

    def fit(
        self, validate: Callable[[NPNet], float | None], checkpoint_every: int, report: StepCallback
    ) -> float | None:
        """Take the steps that are left; the last measurement of the average by ``validate``.

        Every ``checkpoint_every`` steps the average is measured and a checkpoint is written.
        """
        settings = self._settings
        losses: list[Tensor] = []
        # A run that was killed after its last checkpoint has no step left to measure at.
        explained = validate(self.average) if self._step == settings.steps else None
        for batch in islice(self._pairs, settings.steps - self._step):
            losses.append(self._take_step(batch))
            is_last = self._step == settings.steps
            is_checkpoint = is_last or self._step % checkpoint_every == 0
            if is_checkpoint:
                explained = validate(self.average)
            if is_checkpoint or self._step % LOG_EVERY == 0:
                loss = self._mean(losses)
                losses = []
                self._log(loss, explained if is_checkpoint else None)
                report(self._step, loss)
            if is_checkpoint:
                self._save()
        return explained

    def _take_step(self, batch: PairBatch) -> Tensor:
        accelerator, settings = self._accelerator, self._settings
        for group in self._optimizer.param_groups:
            group["lr"] = settings.learning_rate_at(self._step)
        prompt_embeds = self._encode(batch.prompts).to(accelerator.device)
        with self._draws():
            loss = normalized_mse(
                self._npnet,
                batch.source_noise.to(accelerator.device),
                batch.golden_noise.to(accelerator.device),
                prompt_embeds,
                self.average.residual_std,
            )
        self._optimizer.zero_grad()
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(self._npnet.parameters(), settings.max_grad_norm)
        self._optimizer.step()
        self._follow()
        self._step += 1
        return loss.detach()

    @contextmanager
    def _draws(self) -> Iterator[None]:
        """What dropout draws follows from seed, step and process, and from nothing before it."""
        accelerator = self._accelerator
        devices = [accelerator.device] if accelerator.device.type == "cuda" else []
        step = self._settings.seed * self._settings.steps + self._step
        with torch.random.fork_rng(devices=devices):
            torch.manual_seed(step * accelerator.num_processes + accelerator.process_index)
            yield

    def _follow(self) -> None:
        """Move the average towards the network."""
        keep = self._settings.ema_decay_at(self._step)
        with torch.no_grad():
            parameters = zip(self.average.parameters(), self._npnet.parameters(), strict=True)
            for slow, fast in parameters:
                slow.lerp_(fast, 1.0 - keep)

    def _mean(self, losses: list[Tensor]) -> float:
        """The mean loss of some steps, over all processes."""
        return float(self._accelerator.reduce(torch.stack(losses).mean(), "mean"))

    def _log(self, loss: float, explained: float | None) -> None:
        if self._curve is None:
            return
        point = {
            "step": self._step,
            "loss": loss,
            "learning_rate": self._settings.learning_rate_at(self._step - 1),
        }
        self._curve.add(point | ({} if explained is None else {"variance_explained": explained}))
        self._curve.draw()

    def _save(self) -> None:
        if self._curve is None:
            return
        scaler = self._accelerator.scaler
        state = {
            "step": self._step,
            "npnet": self._bare().state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "pairs": self._pairs.state_dict(),
            "points": self._curve.points,
        }
        write_checkpoint(self._folder, self._run, state)

    def _resume(self) -> list[dict[str, Any]]:
        """Take over a checkpoint, if there is one; the points of its loss curve."""
        state = read_checkpoint(self._folder, self._run)
        if state is None:
            return []
        self._step = state["step"]
        self._bare().load_state_dict(state["npnet"])
        self.average.load_state_dict(state["average"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._accelerator.scaler is not None and state["scaler"] is not None:
            self._accelerator.scaler.load_state_dict(state["scaler"])
        self._pairs.load_state_dict(state["pairs"])
        points: list[dict[str, Any]] = state["points"]
        return points

    def _bare(self) -> nn.Module:
        """The network without what accelerate has put around it."""
        module: nn.Module = self._accelerator.unwrap_model(self._npnet)
        return module


def normalized_mse(
    npnet: nn.Module, source: Tensor, golden: Tensor, prompt_embeds: Tensor, residual_std: Tensor
) -> Tensor:
    """Mean squared error to the golden noise in units of the residual's variance, ().

    1 for a network that leaves the noise as it is, 0 for a perfect one.
    """
    error: Tensor = (npnet(source, prompt_embeds) - golden) / residual_std
    return error.square().mean()
