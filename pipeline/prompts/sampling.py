"""Random sample of prompts, chosen by hash, so that it changes little when prompts are added.

Each prompt has a rank, which is a hash of the seed and its text. The lowest ranks are sampled. One
more prompt therefore replaces at most one other, and a larger sample contains every smaller one.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from math import floor

from pipeline.core.errors import PromptChoiceError
from pipeline.core.records import DropReason
from pipeline.prompts.prompt import Drop, SourcePrompt


def drop_not_sampled(
    prompts: Sequence[SourcePrompt], size: int | None, weights: Mapping[str, float], seed: int
) -> Iterator[Drop | None]:
    """Drop all but ``size`` prompts. With weights, each source gets its share of them.

    Without a size, the sample is as large as the weights allow. Raise ``PromptChoiceError`` if
    there are too few prompts in total or in a source.
    """
    if weights:
        shares = _shares(Counter(prompt.source for prompt in prompts), size, weights)
        groups = [([p for p in prompts if p.source == name], n) for name, n in shares.items()]
    else:
        assert size is not None, "a sample has a size or weights"
        if size > len(prompts):
            raise PromptChoiceError(
                f"sample = {size}, but only {len(prompts)} prompts are left; lower it, or remove "
                "it to keep all"
            )
        groups = [(list(prompts), size)]
    sampled = {
        prompt.text
        for group, count in groups
        for prompt in sorted(group, key=lambda prompt: _rank(seed, prompt.text))[:count]
    }
    for prompt in prompts:
        yield None if prompt.text in sampled else Drop(reason=DropReason.NOT_SAMPLED)


def _rank(seed: int, text: str) -> bytes:
    return hashlib.sha256(f"sample/{seed}/{text}".encode()).digest()


def _shares(
    available: Mapping[str, int], size: int | None, weights: Mapping[str, float]
) -> dict[str, int]:
    """Return the number of prompts of each source. They add up to ``size``."""
    total = sum(weights.values())
    left = {name: available.get(name, 0) for name in weights}
    short = min(weights, key=lambda name: left[name] / weights[name])
    most = floor(left[short] * total / weights[short])
    if most == 0 or (size is not None and size > most):
        wanted = "" if size is None else f" for sample = {size}"
        raise PromptChoiceError(
            f"the weights cannot be met{wanted}: source {short!r} has {left[short]} prompts left, "
            f"so these weights allow at most {most} in total. Lower its weight or sample, or add "
            "prompts to it"
        )
    return _rounded(most if size is None else size, weights)


def _rounded(size: int, weights: Mapping[str, float]) -> dict[str, int]:
    """Return integer shares that add up to ``size``. The largest remainders are rounded up."""
    total = sum(weights.values())
    exact = {name: size * weight / total for name, weight in weights.items()}
    shares = {name: floor(share) for name, share in exact.items()}
    # The sort is stable, so equal remainders are rounded up in the order of the sources.
    by_remainder = sorted(exact, key=lambda name: shares[name] - exact[name])
    for name in by_remainder[: size - sum(shares.values())]:
        shares[name] += 1
    return shares
