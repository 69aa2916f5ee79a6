"""Train a network on a data set, stop in the middle of an epoch, and resume at the next batch.

python examples/training_loop.py out/demo
"""

import sys

import torch
from torch import nn
from torch.utils.data import DataLoader

from pipeline.reader import NoisePairDataset

BATCH_SIZE = 32


def main(url: str) -> None:
    """Train for two epochs with one interruption."""
    pairs = NoisePairDataset(url, "train", seed=0, batch_size=BATCH_SIZE, dtype=torch.float32)
    channels = pairs.latent_shape[0]
    network = nn.Conv2d(channels, channels, kernel_size=3, padding=1)  # replace it by yours
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    for epoch in range(2):
        pairs.set_epoch(epoch)
        loader = DataLoader(pairs, batch_size=None, num_workers=2)
        for step, batch in enumerate(loader, start=1):
            train_step(network, optimizer, batch)
            if epoch == 0 and step == 2:
                # A DataLoader reads ahead, so the loop has to count what it has used.
                state = pairs.state_after(step)
                break

    # After a crash: a new data set continues at the third batch of the first epoch.
    resumed = NoisePairDataset(url, "train", seed=0, batch_size=BATCH_SIZE, dtype=torch.float32)
    resumed.load_state_dict(state)
    left = 0
    for batch in DataLoader(resumed, batch_size=None, num_workers=2):
        train_step(network, optimizer, batch)
        left += len(batch["prompt"])
    print(f"resumed after {2 * BATCH_SIZE} of {pairs.num_samples} pairs and read the other {left}")


def train_step(
    network: nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]
) -> None:
    """Fit the change from source to golden noise."""
    source, golden = batch["source_noise"], batch["golden_noise"]  # (B, C, H, W)
    loss = (source + network(source) - golden).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "out/demo")
