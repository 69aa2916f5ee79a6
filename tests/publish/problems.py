"""The problems that verification finds in a folder."""

from pathlib import Path

from pipeline.publish.verify import verify
from pipeline.storage.open import open_store


def problems_in(folder: Path) -> list[str]:
    return [str(problem) for problem in verify(open_store(str(folder))).problems]


def only_problem_in(folder: Path) -> str:
    (problem,) = problems_in(folder)
    return problem
