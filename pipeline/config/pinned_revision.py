"""Check of Hugging Face hub revisions: only commits are accepted.

A branch or a tag can move, so a plan that named one could mean other files tomorrow.
"""

import re

_COMMIT = re.compile(r"[0-9a-f]{40}")


def refuse_unpinned(hub: str | None, revision: str | None, repositories: str = "") -> None:
    """Raise ``ValueError`` unless both a repository and its commit are given, or neither.

    ``repositories`` is the prefix of the repository's address on the hub: ``datasets/`` for data
    sets, empty for models.
    """
    if (hub is None) != (revision is None):
        raise ValueError("hub and revision belong together; set both or neither")
    if revision is not None and not _COMMIT.fullmatch(revision):
        raise ValueError(
            f"revision {revision!r} is not pinned: a branch, a tag or a short hash can point to "
            "other files later. Give the 40 hexadecimal digits of a commit: "
            f"git ls-remote https://huggingface.co/{repositories}{hub}"
        )
