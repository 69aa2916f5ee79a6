"""Custom classes are loaded from their module and identified by a digest of its source."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.core.entry_point import entry_digest, make_entry
from pipeline.core.errors import EntryPointError
from pipeline.core.identity import file_sha256

SOURCE = "class Scaled:\n    def __init__(self, factor):\n        self.factor = float(factor)\n"


@pytest.fixture(autouse=True)
def _nothing_stays_imported(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield
    for name in [name for name in sys.modules if name.startswith("npd_test_")]:
        del sys.modules[name]


def _write(path: Path, text: str = SOURCE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_entry_is_made_with_its_options(tmp_path: Path) -> None:
    _write(tmp_path / "npd_test_made.py")
    made = make_entry("npd_test_made:Scaled", str(tmp_path), {"factor": 2})
    assert (type(made).__name__, made.factor) == ("Scaled", 2.0)


def test_entry_of_an_installed_package_needs_no_folder() -> None:
    made = make_entry("fractions:Fraction", None, {"numerator": 1, "denominator": 2})
    assert made == 0.5


def test_digest_of_a_module_is_that_of_its_file_and_runs_nothing(tmp_path: Path) -> None:
    path = _write(tmp_path / "npd_test_file.py", "raise RuntimeError\n")
    _write(tmp_path / "beside.py")
    assert entry_digest("npd_test_file:Any", str(tmp_path)) == file_sha256(path)
    assert "npd_test_file" not in sys.modules


@pytest.mark.parametrize("package", ["npd_test_package", "npd_test_space/package"])
def test_digest_in_a_package_changes_with_what_is_beside(tmp_path: Path, package: str) -> None:
    folder = tmp_path / package
    _write(folder / "__init__.py", "")
    _write(folder / "inner" / "judge.py")
    beside = _write(folder / "beside.py")
    entry = f"{package.replace('/', '.')}.inner.judge:Scaled"
    before = entry_digest(entry, str(tmp_path))
    _write(tmp_path / "outside.py")
    assert entry_digest(entry, str(tmp_path)) == before
    beside.write_text(SOURCE + "# another\n")
    assert entry_digest(entry, str(tmp_path)) != before


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("npd_test_bad", "no entry; write module:Class"),
        ("npd test:Scaled", "no entry; write module:Class"),
        ("npd_test_nowhere:Scaled", "no module 'npd_test_nowhere' in .*; set code"),
        ("npd_test_bad:Other", "cannot be imported: .*no attribute 'Other'"),
        ("npd_test_broken:Scaled", "cannot be imported: "),
        ("npd_test_bad:Scaled", "refuses options .*'factor': 'two'.*could not convert"),
        ("json:JSONDecoder", "Python finds 'json' at .* and not in .*; rename the module"),
    ],
)
def test_unusable_entry_is_rejected(tmp_path: Path, entry: str, message: str) -> None:
    _write(tmp_path / "npd_test_bad.py")
    _write(tmp_path / "npd_test_broken.py", "import npd_test_not_there\n")
    with pytest.raises(EntryPointError, match=message):
        make_entry(entry, str(tmp_path), {"factor": "two"})
