"""``npd plan`` prints the size of a build in advance."""

import re
from pathlib import Path

import pytest

from tests.end_to_end.builds import Npd, files, plan_id, write_config


def test_plan_prints_the_size_of_a_build_and_writes_nothing(
    npd: Npd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undisturbed: Path
) -> None:
    config = write_config(tmp_path)
    monkeypatch.chdir(tmp_path)
    before = files(tmp_path)
    ended = npd("plan", config)
    assert ended.code == 0, ended.err
    # The bill follows after an empty line.
    lines = ended.out.partition("\n\n")[0].splitlines()
    figures = dict(re.split(r"\s{2,}", line, maxsplit=1) for line in lines)
    assert figures["plan"] == plan_id(undisturbed)
    assert figures["candidates"] == "24"
    assert figures["units"] == "12 of 2 candidates"
    # Two images of 8 evaluations, 4 denoising steps of two evaluations, 4 inversions of one.
    assert figures["forward evaluations"] == "28 per candidate, 672 in total"
    assert "at most" in figures["bytes"]
    assert figures["time"].startswith("about ")
    assert files(tmp_path) == before
