"""Example pairs of a report, and a picture of them.

They are taken at fixed quantiles of the gain, so that no pair is hand-picked.
"""

import io
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from pipeline.config.plan import Plan
from pipeline.core.errors import VerificationError
from pipeline.core.records import Split
from pipeline.evaluate.compare import Values
from pipeline.evaluate.scores import ScoreTable
from pipeline.storage.formats.pairs import NoisePair
from pipeline.storage.formats.pictures import open_picture, pixels_of
from pipeline.storage.manifest import Manifest
from pipeline.storage.object_store import ObjectStore
from pipeline.storage.sealed_files import open_whole, shard_refs

QUANTILES = (0.05, 0.2, 0.4, 0.6, 0.8, 0.95)
"""Quantiles of the gain over all kept pairs; the lowest one is usually a loss."""

_TILE = 200
_GAP = 10
_MARGIN = 18
_LINE = 22
_FRAME = 5
_COLUMNS = 2
_CELL_WIDTH = 2 * _TILE + _GAP
_CELL_HEIGHT = _TILE + 4 * _LINE + _MARGIN
_GROUND, _INK, _FAINT, _BETTER = "#ffffff", "#1a1a1a", "#5b5b5b", "#12813a"


@dataclass(frozen=True, kw_only=True)
class ExamplePair:
    """One kept pair and its rank among all kept pairs."""

    pair: NoisePair
    quantile: float
    """Share of the kept pairs with a smaller gain, from 0 to 1."""


def shown_reward(plan: Plan) -> str:
    """Return the name of the reward that ranks the pairs.

    It is the first reward with ``select = false``, or the first reward if all of them select.
    """
    independent = (r.name for r in plan.settings.rewards if not r.select)
    return str(next(independent, plan.reward_names[0]))


def example_pairs(
    store: ObjectStore, manifest: Manifest, scores: ScoreTable, reward: str
) -> list[ExamplePair]:
    """Return the kept pairs at ``QUANTILES`` of the gain under ``reward``, in that order.

    Reads only the shards that hold them and checks each against its digest. Raises
    ``VerificationError`` if a shard is damaged or does not hold the pair that the ledger names.
    """
    kept = np.flatnonzero(scores.kept)
    there = scores.splits[scores.in_shards]
    numbers = np.cumsum(scores.in_shards)[kept] - 1  # of each kept pair, over all splits
    splits, ids = scores.splits[kept], scores.sample_ids[kept]
    gains = (scores.golden[reward] - scores.source[reward])[kept]
    examples = []
    for quantile, index in _at_quantiles(gains):
        split = Split(splits[index])
        # Shards hold the pairs of a split in ledger order.
        place = int((there[: numbers[index]] == splits[index]).sum())
        pair = _read_pair(store, manifest, split, place)
        if pair.sample_id != ids[index]:
            raise VerificationError(
                f"{store.url}: the ledger names {ids[index]} where the shards of {split} hold "
                f"{pair.sample_id}; run `npd verify`"
            )
        examples.append(ExamplePair(pair=pair, quantile=quantile))
    return examples


def _at_quantiles(gains: Values) -> list[tuple[float, int]]:
    """Pair each quantile with the index of the nearest gain from below, ignoring NaN."""
    # argsort puts NaN last.
    order = np.argsort(gains, kind="stable")[: int(np.isfinite(gains).sum())]
    return [(q, int(order[int(q * (len(order) - 1))])) for q in QUANTILES] if len(order) else []


def _read_pair(store: ObjectStore, manifest: Manifest, split: Split, place: int) -> NoisePair:
    """Read the pair at position ``place`` of a split, counted across its shards."""
    shards = shard_refs(store, manifest, split)
    ends = list(accumulate(shard.info.num_samples for shard in shards))
    index = bisect_right(ends, place)
    row = place - (ends[index - 1] if index else 0)
    shard = shards[index]
    return open_whole(shard).pair(row)


def draw_grid(examples: Sequence[ExamplePair], title: str, reward: str) -> bytes:
    """Return a PNG of the pairs in the given order.

    The image that ``reward`` scores higher is framed. An image that was not stored stays blank.
    """
    rows = -(-len(examples) // _COLUMNS)
    width = _COLUMNS * (_CELL_WIDTH + 2 * _MARGIN)
    heading = _wrapped(title, width - 2 * _MARGIN, 15, lines=3)
    top = (len(heading) + 1) * _LINE
    canvas = Image.new("RGB", (width, top + rows * _CELL_HEIGHT), _GROUND)
    draw = ImageDraw.Draw(canvas)
    for line, text in enumerate(heading):
        draw.text((_MARGIN, 8 + line * _LINE), text, fill=_INK, font=_font(15))
    for position, example in enumerate(examples):
        row, column = divmod(position, _COLUMNS)
        left = column * (_CELL_WIDTH + 2 * _MARGIN) + _MARGIN
        _draw_pair(canvas, draw, example, reward, left, top + row * _CELL_HEIGHT)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw_pair(
    canvas: Image.Image,
    draw: ImageDraw.ImageDraw,
    example: ExamplePair,
    reward: str,
    left: int,
    top: int,
) -> None:
    pair = example.pair
    for line, text in enumerate(_wrapped(pair.prompt, _CELL_WIDTH, 16, lines=2)):
        draw.text((left, top + line * _LINE), text, fill=_INK, font=_font(16))
    y = top + 2 * _LINE
    images = (pair.source_image, pair.golden_image)
    scores = (pair.source_rewards, pair.golden_rewards)
    better = _better(*(each.get(reward) for each in scores))
    for column, (image, label) in enumerate(zip(images, ("standard", "golden"), strict=True)):
        x = left + column * (_TILE + _GAP)
        if image is not None:
            # Nearest-neighbour scaling keeps the pixels of small images as they are.
            pixels = pixels_of(open_picture(image, pair.sample_id), pair.sample_id)
            tile = Image.fromarray(pixels).resize((_TILE, _TILE), Image.Resampling.NEAREST)
            canvas.paste(tile, (x, y))
        if column == better:
            box = (x - _FRAME, y - _FRAME, x + _TILE + _FRAME - 1, y + _TILE + _FRAME - 1)
            draw.rectangle(box, outline=_BETTER, width=_FRAME)
        name, colour = (f"{label}: better", _BETTER) if column == better else (label, _INK)
        draw.text((x, y + _TILE + 6), name, fill=colour, font=_font(15))
        draw.text(
            (x, y + _TILE + 6 + _LINE - 4), _described(scores[column]), fill=_FAINT, font=_font(14)
        )


def _better(source: float | None, golden: float | None) -> int | None:
    """Return the column of the better image, or None for a tie or a missing score."""
    if source is None or golden is None or source == golden:
        return None
    return int(golden > source)


def _described(scores: Mapping[str, float | None]) -> str:
    return "  ".join(f"{name} {score:.2f}" for name, score in scores.items() if score is not None)


def _wrapped(text: str, width: int, size: int, *, lines: int) -> list[str]:
    """Break a text into at most ``lines`` lines; a text that does not fit ends in an ellipsis."""
    broken = [""]
    for word in text.split():
        longer = f"{broken[-1]} {word}".strip()
        if _font(size).getlength(longer) <= width:
            broken[-1] = longer
        else:
            broken.append(word)
    return broken if len(broken) <= lines else [*broken[: lines - 1], f"{broken[lines - 1]} …"]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
