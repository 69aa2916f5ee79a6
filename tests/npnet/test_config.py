"""Layouts are validated when they are created."""

import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.core.errors import UserError
from pipeline.npnet.config import Layout, SmallLayout, SwinLayout, TwoBranchLayout, layout_for


@pytest.mark.parametrize(
    ("kind", "values", "message"),
    [
        (SmallLayout, {"width": 60}, "width 60 is not a multiple of groups"),
        (SmallLayout, {"width": 64, "heads": 6}, "width 64 is not a multiple of heads"),
        (TwoBranchLayout, {"latent_shape": (4, 9, 9)}, "18 singular values are not a multiple"),
        (SwinLayout, {"image_size": 200}, "image_size 200 is not a multiple of 32"),
        (SwinLayout, {"num_heads": (3, 6)}, "different numbers of stages"),
        (SwinLayout, {"num_heads": (5, 6, 12, 24)}, "stage 1"),
    ],
)
def test_layout_impossible_says_which_numbers_do_not_fit(
    kind: type[SmallLayout], values: dict[str, object], message: str
) -> None:
    shapes = {"latent_shape": (4, 8, 8), "prompt_width": 32} if kind is SmallLayout else {}
    with pytest.raises(ValidationError, match=message):
        kind.model_validate(shapes | values)


@pytest.mark.parametrize(
    ("channels", "folding"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (8, (2, 4)), (16, (4, 4))]
)
def test_folding_is_as_square_as_the_channels_allow(
    channels: int, folding: tuple[int, int]
) -> None:
    layout = TwoBranchLayout(latent_shape=(channels, 8, 8))
    assert layout.folding == folding
    assert layout.folded_shape == (8 * folding[0], 8 * folding[1])


@pytest.mark.parametrize("kind", ["small", "two_branch"])
def test_layout_read_back_from_json_is_the_same(kind: str) -> None:
    layout = layout_for(kind, (4, 8, 8), (16, 128), 64)
    assert TypeAdapter[Layout](Layout).validate_json(layout.model_dump_json()) == layout


def test_layout_for_sdxl_is_the_published_one() -> None:
    assert layout_for("two_branch", (4, 128, 128), (77, 2048), 64) == TwoBranchLayout()


def test_layout_for_impossible_sizes_is_an_error_of_the_user() -> None:
    with pytest.raises(UserError, match=r"no small network.*width 60 is not a multiple of groups"):
        layout_for("small", (4, 8, 8), (16, 128), 60)
