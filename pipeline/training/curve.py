"""The loss curve: a line of JSON for each point, and a picture of them."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

from pipeline.storage.durable import atomic_write

LINES_FILE, PICTURE_FILE = "loss.jsonl", "loss.png"

_SIZE = (720, 400)
_MARGIN = 48
_COLOURS = {"loss": (31, 119, 180), "variance_explained": (214, 39, 40)}


class LossCurve:
    """Points of one run, kept in a file as they come.

    A point: ``step``, ``loss`` (mean since the point before, in units of the residual's variance),
    ``learning_rate``, and where it was measured ``variance_explained`` on the validation pairs.
    """

    def __init__(self, folder: Path, points: Sequence[dict[str, Any]] = ()) -> None:
        self._folder = folder
        self.points = list(points)
        # What a killed run wrote after its checkpoint will be written again.
        lines = "".join(json.dumps(point) + "\n" for point in self.points)
        atomic_write(folder / LINES_FILE, [lines.encode()])

    def add(self, point: dict[str, Any]) -> None:
        """Append a point."""
        self.points.append(point)
        with (self._folder / LINES_FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(point) + "\n")

    def draw(self) -> None:
        """Write the picture: training loss and variance explained against steps, both in [0, 1]."""
        image = Image.new("RGB", _SIZE, "white")
        pen = ImageDraw.Draw(image)
        last = self.points[-1]["step"]
        for share in (0.0, 0.25, 0.5, 0.75, 1.0):
            left, right = _place(0, share, last), _place(last, share, last)
            pen.line([left, right], fill=(220, 220, 220))
            pen.text((8, left[1] - 6), f"{share:.2f}", fill="black")
            pen.text(
                (_place(last * share, 0, last)[0] - 12, _SIZE[1] - 40),
                f"{last * share:.0f}",
                "black",
            )
        for row, (name, colour) in enumerate(_COLOURS.items()):
            line = [
                _place(p["step"], p[name], last) for p in self.points if p.get(name) is not None
            ]
            pen.line(line, fill=colour, width=2)
            pen.text((_SIZE[0] - 200, 8 + 14 * row), name.replace("_", " "), fill=colour)
        picture = io.BytesIO()
        image.save(picture, format="PNG")
        atomic_write(self._folder / PICTURE_FILE, [picture.getvalue()])


def _place(step: float, share: float, last: int) -> tuple[float, float]:
    width, height = _SIZE[0] - 2 * _MARGIN, _SIZE[1] - 2 * _MARGIN
    clipped = min(max(share, 0.0), 1.0)
    return _MARGIN + width * step / last, _SIZE[1] - _MARGIN - height * clipped
