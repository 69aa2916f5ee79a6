"""Compare ImageReward in its published size with the recorded scores.

It takes 16 s of CPU and 4 GB, so it is a script and not a test.

python -m tests.models.rewards.full_size
"""

from pathlib import Path

import torch

from pipeline.models.rewards.image_reward import (
    PUBLISHED,
    ImageReward,
    ImageRewardNetwork,
    from_published,
)
from pipeline.models.rewards.weights import fill
from tests.models.rewards.folders import bert_words
from tests.models.rewards.recorded import scores, weights
from tests.models.rewards.reference.subjects import PROMPTS, images


def main() -> None:
    """Print the largest difference; exit with 1 if it is above 1e-5."""
    expected = scores("image_reward_full")
    tensors = from_published(weights("image_reward_full"))
    network = fill(lambda: ImageRewardNetwork(PUBLISHED), tensors, Path("the weights by name"))
    vocabulary = {word: number for number, word in enumerate(bert_words())}
    reward = ImageReward(network, vocabulary, torch.device("cpu"))
    pictures = torch.from_numpy(images())[: len(expected)]
    found = reward.score(PROMPTS[: len(expected)], pictures)
    difference = float((found - expected).abs().max())
    print(f"largest difference of {len(expected)} scores: {difference:.1e}")
    raise SystemExit(difference > 1e-5)


if __name__ == "__main__":
    main()
