"""Commits of the Hugging Face hub: what a plan names must not change under its name."""

import re

_COMMIT = re.compile(r"[0-9a-f]{40}")


def refuse_unpinned(hub: str | None, revision: str | None, repositories: str = "") -> None:
    """Refuse, with ``ValueError``, a repository without a commit, or a commit without one.

    ``repositories`` is where the hub has repositories of their kind: ``datasets/``, or nothing for
    models.
    """
    if (hub is None) != (revision is None):
        raise ValueError("hub and revision belong together; set both or neither")
    if revision is not None and not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"revision {revision!r} is not pinned: a branch, a tag or a short hash can stand for "
            "other files tomorrow. Give the 40 hexadecimal digits of a commit: "
            f"git ls-remote https://huggingface.co/{repositories}{hub}"
        )
