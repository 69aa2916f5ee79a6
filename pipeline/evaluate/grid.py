"""One picture: source and golden images side by side, with prompts and scores."""

import io
from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

from pipeline.storage.schema import NoisePair

_TILE = 128
_MARGIN = 12
_LINE = 16
_PAIRS_PER_ROW = 4
_GROUND, _INK, _FAINT = "#ffffff", "#1a1a1a", "#6b6b6b"


def draw_grid(pairs: Sequence[NoisePair], title: str) -> bytes:
    """A PNG of pairs that store their images, in the order in which they come."""
    cell_width = 2 * _TILE + 3 * _MARGIN
    cell_height = _TILE + 4 * _LINE + _MARGIN
    rows = -(-len(pairs) // _PAIRS_PER_ROW)
    canvas = Image.new(
        "RGB",
        (_PAIRS_PER_ROW * cell_width + _MARGIN, rows * cell_height + 3 * _LINE + _MARGIN),
        _GROUND,
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _MARGIN), title, fill=_INK, font=_font(14))
    for position, pair in enumerate(pairs):
        row, column = divmod(position, _PAIRS_PER_ROW)
        left = column * cell_width + _MARGIN
        _draw_pair(canvas, draw, pair, left, 3 * _LINE + row * cell_height)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG")
    return buffer.getvalue()


def _draw_pair(
    canvas: Image.Image, draw: ImageDraw.ImageDraw, pair: NoisePair, left: int, top: int
) -> None:
    for line, text in enumerate(_wrapped(pair.prompt, 2 * _TILE + _MARGIN)):
        draw.text((left, top + line * _LINE), text, fill=_INK, font=_font(12))
    for column, (image, scores) in enumerate(
        ((pair.source_image, pair.source_rewards), (pair.golden_image, pair.golden_rewards))
    ):
        x, y = left + column * (_TILE + _MARGIN), top + 2 * _LINE
        if image is not None:
            with Image.open(io.BytesIO(image)) as picture:
                tile = picture.convert("RGB").resize((_TILE, _TILE), Image.Resampling.NEAREST)
            canvas.paste(tile, (x, y))
        label = ("source  ", "golden  ")[column] + "  ".join(
            f"{name} {score:.2f}" for name, score in scores.items() if score is not None
        )
        draw.text((x, y + _TILE + 2), label, fill=_FAINT, font=_font(9))


def _wrapped(text: str, width: int) -> list[str]:
    """At most two lines; what does not fit ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font(12).getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines[:2] if len(lines) <= 2 else [lines[0], f"{lines[1]} …"]


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
