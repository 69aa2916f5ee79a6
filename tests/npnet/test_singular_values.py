"""The singular-value branch against numpy, and under autocast."""

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.npnet.two_branch import SingularValueBranch, fold, singular_triplets, unfold
from tests.npnet.layouts import TWO_BRANCH, inputs


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (1, 3), (2, 4)])
def test_fold_lays_channels_out_in_rows(rows: int, columns: int) -> None:
    noise = torch.randn(2, rows * columns, 3, 5, generator=torch.Generator().manual_seed(0))
    matrix = fold(noise, rows, columns)
    grid = np.block(
        [[noise[1, r * columns + c].numpy() for c in range(columns)] for r in range(rows)]
    )
    assert np.array_equal(matrix[1].numpy(), grid)
    assert torch.equal(unfold(matrix, rows, columns), noise)


@pytest.mark.parametrize("shape", [(2, 16, 16), (2, 6, 10), (2, 10, 6)])
def test_triplets_are_numpys_with_the_largest_entry_positive(shape: tuple[int, ...]) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(3))
    left, values, right = singular_triplets(matrix)
    expected = np.linalg.svd(matrix.double().numpy(), full_matrices=False)
    np.testing.assert_allclose(values, expected.S, rtol=1e-5)
    for row in range(shape[0]):
        for k in range(values.shape[1]):
            column = expected.U[row, :, k]
            sign = np.sign(column[np.abs(column).argmax()])
            np.testing.assert_allclose(left[row, :, k], sign * column, atol=1e-4)
            np.testing.assert_allclose(right[row, k], sign * expected.Vh[row, k], atol=1e-4)


def test_triplets_of_the_negated_matrix_keep_their_left_vectors() -> None:
    matrix = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(4))
    left, _, right = singular_triplets(matrix)
    negated_left, _, negated_right = singular_triplets(-matrix)
    torch.testing.assert_close(negated_left, left, atol=1e-5, rtol=0)
    torch.testing.assert_close(negated_right, -right, atol=1e-5, rtol=0)


def _last(branch: SingularValueBranch) -> nn.Linear:
    layer = branch.change[-1]
    assert isinstance(layer, nn.Linear)
    return layer


def test_branch_changes_singular_values_and_keeps_the_vectors() -> None:
    torch.manual_seed(0)
    branch = SingularValueBranch(TWO_BRANCH)
    change = torch.linspace(0.5, 1.5, TWO_BRANCH.num_values)
    with torch.no_grad():
        _last(branch).bias.copy_(change)
    noise, _ = inputs(TWO_BRANCH, 2)
    U, S, Vh = np.linalg.svd(fold(noise, 2, 2).double().numpy())
    expected = U * (S + change.numpy())[:, None] @ Vh
    np.testing.assert_allclose(fold(branch(noise), 2, 2).detach(), expected, atol=1e-5)


def test_branch_under_autocast_computes_in_float32() -> None:
    torch.manual_seed(0)
    branch = SingularValueBranch(TWO_BRANCH)
    torch.nn.init.normal_(_last(branch).weight)
    noise, _ = inputs(TWO_BRANCH, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert branch.left(torch.zeros(1, 16)).dtype == torch.bfloat16  # autocast is active
        under_autocast = branch(noise)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(under_autocast, branch(noise))
