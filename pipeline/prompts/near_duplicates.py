"""Prompts that nearly read like an earlier one: by the Jaccard similarity of their shingles.

A shingle is a run of characters of the bare text: words in small letters, without punctuation. So
a typing error, an ending or a full stop changes few of them, languages without spaces have them
too, and, unlike in bags of words, order counts: a red cube on a blue ball is not a blue cube on a
red ball.

MinHash with banding (rensa) finds the earlier prompts that may be similar enough; the exact
similarity of the shingles then decides. The bands are chosen so that a pair at the threshold is
missed once in a million, so what is found is in effect a property of the texts, not of the hashes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.prompts.prompt import Drop, SourcePrompt
from pipeline.records import DropReason

if TYPE_CHECKING:
    from rensa import RMinHash

SHINGLE = 7
"""Characters of a shingle."""

# With half as many, prompts that are put together from the same parts share bands eight times as
# often, and every one of them has to be looked at.
_HASHES = 256
_MISSED = 1e-6
# The estimate from so many hashes has a standard deviation of at most 0.032: 4.7 of them.
_ESTIMATE_ERROR = 0.15
_PROMPTS_AT_ONCE = 1024
_SEED = 0
_WORD = re.compile(r"\w+")


def drop_near_repeated(prompts: Sequence[SourcePrompt], threshold: float) -> Iterator[Drop | None]:
    """Drop what is similar to an earlier prompt that stays; it says to which, and how much.

    A prompt is compared with those that stay, so a chain of small changes is not one prompt.
    """
    from rensa import RMinHashLSH

    bands, rows = bands_for(threshold)
    index = RMinHashLSH(threshold=threshold, num_perm=bands * rows, num_bands=bands)
    kept: list[tuple[SourcePrompt, RMinHash]] = []
    for prompt, sketch in _sketches(prompts, bands * rows):
        # By the estimate first: it is quick, and most of what shares a band is not similar.
        near = [
            kept[key][0]
            for key in sorted(index.query(sketch))
            if sketch.jaccard(kept[key][1]) >= threshold - _ESTIMATE_ERROR
        ]
        most = _most_similar(prompt, near)
        if most is not None and most[0] >= threshold:
            detail = f"similarity {most[0]:.3f}"
            yield Drop(reason=DropReason.NEAR_REPEATED, detail=detail, resembles=most[1])
        else:
            index.insert(len(kept), sketch)
            kept.append((prompt, sketch))
            yield None


def similarity(first: str, second: str) -> float:
    """Jaccard similarity of the shingles of two texts, from 0 to 1."""
    a, b = shingles(first), shingles(second)
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def shingles(text: str) -> frozenset[str]:
    """The shingles of a text; never none."""
    return frozenset(_runs(text))


def bands_for(threshold: float) -> tuple[int, int]:
    """Bands, and hashes in each: the most selective that miss one pair in a million at most.

    Two texts of similarity s agree in all r hashes of some band of b with the probability
    1 − (1 − sʳ)ᵇ (Leskovec et al., Mining of Massive Datasets, 3.4).
    """
    rows = max(
        rows
        for rows in range(1, _HASHES + 1)
        if (1 - threshold**rows) ** (_HASHES // rows) <= _MISSED
    )
    return _HASHES // rows, rows


def _sketches(
    prompts: Sequence[SourcePrompt], hashes: int
) -> "Iterator[tuple[SourcePrompt, RMinHash]]":
    from rensa import RMinHash

    for start in range(0, len(prompts), _PROMPTS_AT_ONCE):
        batch = prompts[start : start + _PROMPTS_AT_ONCE]
        runs = [_runs(prompt.text) for prompt in batch]
        yield from zip(batch, RMinHash.from_token_sets(runs, hashes, _SEED), strict=True)


def _runs(text: str) -> list[str]:
    """The shingles of a text in their order, repeats among them."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = f" {' '.join(_WORD.findall(folded)) or folded} "
    return [bare[i : i + SHINGLE] for i in range(max(1, len(bare) - SHINGLE + 1))]


def _most_similar(
    prompt: SourcePrompt, others: Sequence[SourcePrompt]
) -> tuple[float, SourcePrompt] | None:
    """The first of those that are most similar."""
    scored = ((similarity(prompt.text, other.text), other) for other in others)
    return max(scored, key=lambda pair: pair[0], default=None)
