"""Linear head of ImageReward and of the aesthetic predictor."""

from torch import Tensor, nn


class LinearHead(nn.Module):
    """Five linear layers that map features (B, width) to scores (B,), without activations."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # The identities stand for the dropout of training. They keep the numbers of the layers,
        # and so the published names of the weights.
        self.layers = nn.Sequential(
            *(nn.Linear(width, 1024), nn.Identity()),
            *(nn.Linear(1024, 128), nn.Identity()),
            *(nn.Linear(128, 64), nn.Identity()),
            *(nn.Linear(64, 16), nn.Linear(16, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Compute the scores of ``features``."""
        scores: Tensor = self.layers(features)
        return scores.squeeze(-1)
