"""Filter for prompts that are similar to an earlier one, by the Jaccard similarity of shingles.

A shingle is a run of characters of the normalised text: words in lower case, without punctuation. A
typing error, an ending or a full stop changes few of them, and languages without spaces have them
too. Unlike a bag of words they depend on the order: a red cube on a blue ball is not a blue cube on
a red ball.

MinHash with banding (rensa) finds the earlier prompts that may be similar. The exact similarity of
the shingles then decides. The bands are chosen so that a pair at the threshold is missed with a
probability of one in a million. The result therefore depends in practice on the texts only, not on
the hashes.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipeline.core.records import DropReason
from pipeline.prompts.prompt import Drop, SourcePrompt

if TYPE_CHECKING:
    from rensa import RMinHash

SHINGLE = 7
"""Number of characters of a shingle."""

# With half as many hashes, prompts that are combined from the same parts share bands eight times as
# often, and each such pair must be compared.
_HASHES = 256
_MISSED = 1e-6
# The estimate from this many hashes has a standard deviation of at most 0.032; this is 4.7 of them.
_ESTIMATE_ERROR = 0.15
_PROMPTS_AT_ONCE = 1024
_SEED = 0
_WORD = re.compile(r"\w+")


def drop_near_duplicates(
    prompts: Sequence[SourcePrompt], threshold: float
) -> Iterator[Drop | None]:
    """Drop prompts whose similarity to an earlier kept prompt is at least ``threshold``.

    Only kept prompts are compared with, so a chain of small changes is not one prompt. The detail
    is the similarity.
    """
    from rensa import RMinHashLSH

    bands, rows = bands_for(threshold)
    index = RMinHashLSH(threshold=threshold, num_perm=bands * rows, num_bands=bands)
    kept: list[tuple[SourcePrompt, RMinHash]] = []
    for prompt, sketch in _sketches(prompts, bands * rows):
        # The estimate is checked first: it is fast, and most prompts that share a band differ.
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
    """Return the Jaccard similarity of the shingles of two texts, from 0 to 1."""
    a, b = shingles(first), shingles(second)
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def shingles(text: str) -> frozenset[str]:
    """Return the set of shingles of a text, which is never empty."""
    return frozenset(_shingles_in_order(text))


def bands_for(threshold: float) -> tuple[int, int]:
    """Return the number of bands and the number of hashes in each band.

    They are the most selective ones that miss at most one pair in a million at the threshold. Two
    texts of similarity s agree in all r hashes of at least one of b bands with the probability
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
        runs = [_shingles_in_order(prompt.text) for prompt in batch]
        yield from zip(batch, RMinHash.from_token_sets(runs, hashes, _SEED), strict=True)


def _shingles_in_order(text: str) -> list[str]:
    """Return the shingles of a text in order, including repeated ones."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    bare = f" {' '.join(_WORD.findall(folded)) or folded} "
    return [bare[i : i + SHINGLE] for i in range(max(1, len(bare) - SHINGLE + 1))]


def _most_similar(
    prompt: SourcePrompt, others: Sequence[SourcePrompt]
) -> tuple[float, SourcePrompt] | None:
    """Return the most similar prompt with its similarity; the first one if several are equal."""
    scored = ((similarity(prompt.text, other.text), other) for other in others)
    return max(scored, key=lambda pair: pair[0], default=None)
