"""The head that ImageReward and the aesthetic predictor share."""

from torch import Tensor, nn


class LinearHead(nn.Module):
    """Features (B, width) to a score (B,): five linear layers with nothing between them.

    While it was trained there was dropout between some; the places keep the published names.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Linear(width, 1024), nn.Identity()),
            *(nn.Linear(1024, 128), nn.Identity()),
            *(nn.Linear(128, 64), nn.Identity()),
            *(nn.Linear(64, 16), nn.Linear(16, 1)),
        )

    def forward(self, features: Tensor) -> Tensor:
        """Scores of ``features``."""
        scores: Tensor = self.layers(features)
        return scores.squeeze(-1)
