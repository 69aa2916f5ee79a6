"""Tests of the distance between images."""

import numpy as np
import pytest
import torch

from pipeline.evaluate.trial.results import mean_pairwise_distance


def test_distance_of_black_white_and_grey_is_the_mean_over_pairs() -> None:
    images = torch.tensor([0, 255, 51], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 2, 2, 3)
    assert mean_pairwise_distance(images) == pytest.approx((1.0 + 0.2 + 0.8) / 3)
    assert mean_pairwise_distance(images[:1].expand(4, 2, 2, 3)) == 0.0
    assert np.isnan(mean_pairwise_distance(images[:1]))
