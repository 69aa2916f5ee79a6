"""The oracle: a measure of how well a picture matches its caption.

It is used in tests and reports. It is built on classical computer vision and is independent of
the learned reward. It never selects pairs, so that it can reveal a reward that is being hacked.
"""

from collections.abc import Sequence
from itertools import permutations

import torch
from torch import Tensor

from pipeline.demo.drawing import relation_holds
from pipeline.demo.scenes import Scene, Thing, parse
from pipeline.demo.vision import Found, find_objects

SMALL_BELOW, LARGE_ABOVE = 4.6, 6.5
"""Half sides in pixels, midway between the rendered ranges of the size words."""

MOST_OBJECTS = 6
"""Number of largest objects that are matched with the caption, which names at most three."""


class SceneOracle:
    """Scores pictures of scenes. It has the interface of a Reward but never selects pairs."""

    def score(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return the share of the caption's facts that each picture shows, float32 (B,) in [0, 1].

        ``images`` is uint8 (B, H, W, 3). The facts are each object's colour, its shape (in that
        colour), its size if the caption names one, the relation, and the number of objects. The
        score is NaN for a prompt outside the grammar.
        """
        shares = [
            sum(facts) / len(facts) if facts else torch.nan for facts in _judge(prompts, images)
        ]
        return torch.tensor(shares, dtype=torch.float32)

    def strict(self, prompts: Sequence[str], images: Tensor) -> Tensor:
        """Return 1 if every fact is right, 0 if one is wrong, and NaN outside the grammar."""
        verdicts = [float(all(facts)) if facts else torch.nan for facts in _judge(prompts, images)]
        return torch.tensor(verdicts, dtype=torch.float32)


def scene_facts(scene: Scene, found: Sequence[Found]) -> list[bool]:
    """Return the facts of ``scene`` as booleans, under the best matching with ``found``."""
    candidates = [*found[:MOST_OBJECTS], *[None] * len(scene.things)]
    matchings = permutations(candidates, len(scene.things))
    best = max((_facts_matched(scene, matching) for matching in matchings), key=sum)
    return [*best, len(found) == len(scene.things)]


def _judge(prompts: Sequence[str], images: Tensor) -> list[list[bool]]:
    """Return the facts of each picture; an empty list for a prompt outside the grammar."""
    seen = find_objects(images.cpu().numpy())
    scenes = [parse(prompt) for prompt in prompts]
    return [
        scene_facts(scene, found) if scene else []
        for scene, found in zip(scenes, seen, strict=True)
    ]


def _facts_matched(scene: Scene, matching: Sequence[Found | None]) -> list[bool]:
    facts = []
    for thing, found in zip(scene.things, matching, strict=True):
        right_kind = found is not None and (found.colour, found.shape) == thing.kind
        facts += [found is not None and found.colour == thing.colour, right_kind]
        if thing.size:
            facts.append(right_kind and _size_holds(thing, found))
    if scene.other and scene.relation != "and":
        facts.append(_relation_shown(scene, matching))
    return facts


def _size_holds(thing: Thing, found: Found | None) -> bool:
    if found is None:
        return False
    return found.half < SMALL_BELOW if thing.size == "small" else found.half > LARGE_ABOVE


def _relation_shown(scene: Scene, matching: Sequence[Found | None]) -> bool:
    """Return True if both objects were found with the right kind and in the right relation."""
    subject, other = matching
    if subject is None or other is None:
        return False
    kinds = [(found.colour, found.shape) for found in (subject, other)]
    return kinds == [thing.kind for thing in scene.things] and relation_holds(
        scene.relation, other.x - subject.x, other.y - subject.y, dominance=1.0
    )
