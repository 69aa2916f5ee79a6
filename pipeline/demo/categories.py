"""Categories of prompts in the demo's grammar, for a trial's tables."""

from collections.abc import Iterable

from pipeline.demo.scenes import Scene, parse


def scene_categories(prompts: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return kind of scene, sizes and colours of each caption in the demo's grammar."""
    scenes = ((prompt, parse(prompt)) for prompt in prompts)
    return {prompt: _of_scene(scene) for prompt, scene in scenes if scene}


def _of_scene(scene: Scene) -> tuple[str, ...]:
    if scene.count > 1:
        kind = f"count: {scene.count}"
    elif scene.relation is None:
        kind = "single object"
    elif scene.relation == "and":
        kind = "two objects, and"
    else:
        kind = "two objects, relation"
    sizes = ("size words",) if any(thing.size for thing in scene.things) else ()
    colours = sorted({f"colour: {thing.colour}" for thing in scene.things})
    return (kind, *sizes, *colours)
